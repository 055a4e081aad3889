# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks that the simulated room is what it claims to be: `robustness.py --self-test`.

And that the report counts right, since its figures have excerpts of several lengths in them.
"""

import contextlib
import io

import numpy as np
import robustness_report
import robustness_room as room


def band_pass(signal, rate, low, high):
    """Band-pass by a windowed sinc of 4001 samples: another way than in the simulator."""
    times = np.arange(-2000, 2001)
    ideal = [2 * f / rate * np.sinc(2 * f / rate * times) for f in (low, high)]
    return np.convolve(signal, (ideal[1] - ideal[0]) * np.blackman(len(times)), "same")


def reverberation_time(responses, octave):
    """RT60 in an octave, from the slope between -5 and -25 dB of the energy to come.

    Schroeder, "New method of measuring reverberation time", J. Acoust. Soc. Am. 37, 1965.
    The energies of all responses are added.
    """
    to_come = 0
    for response in responses:
        filtered = band_pass(response, room.RATE, octave / np.sqrt(2), octave * np.sqrt(2))
        to_come = to_come + np.cumsum(filtered[::-1] ** 2)[::-1]
    level = 10 * np.log10(to_come / to_come[0] + 1e-12)
    inside = np.flatnonzero((level < -5) & (level > -25))
    return -60 / np.polyfit(inside / room.RATE, level[inside], 1)[0]


def check_reverberation_time():
    """Within 10 % of what was asked for, in every octave from 500 Hz to 4 kHz."""
    for octave in (500, 1000, 2000, 4000):
        randoms = [np.random.default_rng(seed) for seed in range(8)]
        responses = [room.room_response(6.0, random)[1] for random in randoms]
        wanted = room.RT60 * room.RT60_BY_OCTAVE[octave]
        yield f"RT60 at {octave} Hz, s", reverberation_time(responses, octave), wanted, 0.1 * wanted


def check_direct_to_reverberant():
    """The critical distance after Kuttruff, 0.057 m sqrt(Q V / RT60), gives 0 dB there."""
    volume = np.prod(room.ROOM_SIZE)
    critical = 0.057 * np.sqrt(room.DIRECTIVITY * volume / room.RT60)
    for distance in (1.0, 3.0, 6.0, 8.0):
        direct, reverberant = room.room_response(distance, np.random.default_rng(1))
        energies = [
            (band_pass(r, room.RATE, *room.MARK_BAND) ** 2).sum() for r in (direct, reverberant)
        ]
        measured = 10 * np.log10(energies[0] / energies[1])
        wanted = 20 * np.log10(critical / distance)
        yield f"direct to reverberant at {distance:.0f} m, dB", measured, wanted, 0.5


def check_level_over_distance():
    """The direct sound falls by 6 dB when the distance doubles."""
    near, far = [room.room_response(d, np.random.default_rng(2))[0] for d in (3.0, 6.0)]
    yield "direct sound, 3 m to 6 m, dB", 20 * np.log10(far.max() / near.max()), -6.02, 0.01


def check_signal_to_noise():
    """From recordings with and without noise; a scale factor tells them apart."""
    programme = room.pink_noise(12 * room.RATE, np.random.default_rng(3))
    programme *= 0.05 * (1 + np.sin(np.arange(len(programme)) / room.RATE * 5))
    for snr in (20.0, 10.0, 5.0):
        clean, noisy = room.record_in_room(programme, 2.0, 8.0, 3.0, [200.0, snr], [], 4)
        clean, noisy = [band_pass(r, room.MICROPHONE_RATE, *room.MARK_BAND) for r in (clean, noisy)]
        share = clean * (noisy @ clean) / (clean @ clean)
        measured = 10 * np.log10((share @ share) / ((noisy - share) @ (noisy - share)))
        yield "SNR, dB", measured, snr, 0.5


def check_clock():
    """A tone comes out lower by as much as the clock is fast; phase over 8 s tells."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(9 * room.RATE) / room.RATE)
    for clock_error in (-50.0, 20.0, 80.0):
        recording = room.microphone(tone, 8 * room.MICROPHONE_RATE, clock_error)
        times = np.arange(len(recording)) / room.MICROPHONE_RATE
        turned = recording * np.exp(-2j * np.pi * 1000 * times)
        phases = np.unwrap(np.angle(turned.reshape(-1, 1600).mean(1)))
        slope = np.polyfit(np.arange(len(phases)) * 0.1, phases, 1)[0]
        measured = -slope / (2 * np.pi * 1000) * 1e6
        yield "microphone clock, ppm", measured, clock_error, 0.5
    error = recording - np.sin(2 * np.pi * 1000 * times / (1 + clock_error * 1e-6))
    level = 10 * np.log10(np.mean(error[100:-100] ** 2) / 0.5)
    yield "error of resampling, dB", max(level, -80.0), -80.0, 0.01


def check_counts():
    """An excerpt that is too short for a length counts neither as read nor as not read."""
    short = {"read": {"3": False, "8": True}}
    long = {"read": {"3": True, "8": True, "15": False}}
    counted = robustness_report.counts([short, long, short], "read", ("3", "8", "15"))
    for length, got, wanted in zip(("3", "8", "15"), counted, ((1, 3), (3, 3), (0, 1))):
        for what, number, right in zip(("read", "excerpts"), got, wanted):
            yield f"{what} of {length} s", number, right, 0


def check_wrong_payloads():
    """One is told, whatever else is right; none is told of runs without a payload."""
    result = {"recording": "self-test", "attack": "none", "excerpt": 0, "marked": True}
    for wrong, right in ((None, 0), ([], 0), (["00c0ffef"], 1)):
        told = {} if wrong is None else {"wrong_payloads": wrong}
        outcome = {"results": [result | told, result]}
        with contextlib.redirect_stderr(io.StringIO()):
            got = robustness_report.print_wrong_payloads(outcome)
        yield f"wrong payload told, {wrong}", got, right, 0


def report(checks):
    """Run checks and print them; tells whether all passed.

    A check yields what it measured, the value, the wanted one, and a tolerance.
    """
    passed = True
    for check in checks:
        for what, measured, wanted, tolerance in check():
            good = abs(measured - wanted) <= tolerance
            passed = passed and good
            verdict = "ok" if good else "WRONG"
            print(f"{what:32} {measured:8.2f}, wanted {wanted:7.2f} +- {tolerance:.2f}  {verdict}")
    return passed


def run():
    """Run all checks; tells whether all passed."""
    return report(
        (
            check_reverberation_time,
            check_direct_to_reverberant,
            check_level_over_distance,
            check_signal_to_noise,
            check_clock,
            check_counts,
            check_wrong_payloads,
        )
    )
