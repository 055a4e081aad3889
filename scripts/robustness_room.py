# SPDX-License-Identifier: MIT OR Apache-2.0
"""A loudspeaker, a room with noise in it, and a microphone, simulated with numpy.

What the microphone hears is the sum of
- the direct sound: level falls with the distance, 6 dB for each doubling;
- first reflections: image sources of a box-shaped room (Allen and Berkley, "Image method
  for efficiently simulating small-room acoustics", J. Acoust. Soc. Am. 65, 1979);
- the reverberant tail: noise that decays exponentially, high frequencies faster. It takes
  over after sqrt(V / m^3) milliseconds, when reflections come too densely to be told apart
  (Polack, "Playing billiards in the concert hall", Applied Acoustics 38, 1993);
- noise: ventilation, people talking, and the microphone itself.

How strong the reverberation is follows from the diffuse field (Kuttruff, "Room Acoustics",
chapter 5): the energy of the direct sound is (critical distance / distance)^2 of the
reverberant energy, and the critical distance is sqrt(Q A / (16 pi)), where Q is the
directivity of the loudspeaker and A = 0.161 V / RT60 the absorption area (Sabine).

Lengths are in metres, times in seconds, frequencies in hertz, powers are mean squares.
"""

import numpy as np

RATE = 48000
"""Samples a second of everything here except the output of the microphone."""
MICROPHONE_RATE = 16000
SPEED_OF_SOUND = 343.0
MARK_BAND = (300.0, 6500.0)
"""Where the mark is; signal-to-noise and direct-to-reverberant ratios refer to it."""

ROOM_SIZE = (10.0, 7.0, 3.0)
RT60 = 0.5
"""Reverberation time at 1 kHz: a large living room, or a small class room."""
RT60_BY_OCTAVE = {250: 1.1, 500: 1.05, 1000: 1.0, 2000: 0.92, 4000: 0.8, 8000: 0.65}
"""Reverberation time relative to 1 kHz, falling as in furnished rooms."""
DIRECTIVITY = 2.0
"""Of a small loudspeaker that faces the microphone: 3 dB."""
LOUDSPEAKER_BAND = (120.0, 15000.0)
WALL_MARGIN = 0.5
HEIGHTS = (0.8, 1.5)
"""Loudspeaker and microphone stand on furniture."""
CLOCK_ERROR = (10.0, 80.0)
"""Parts per million, with either sign: playback and recording have clocks of their own."""
MICROPHONE_NOISE = -20.0
"""dB, relative to the noise in the room."""
PEAK = 0.25
"""Level of the recording: highest sample, relative to full scale."""
MARGIN = 0.05
"""Seconds that are simulated beyond the excerpt, for delays and for the clock error."""


def filter_spectrum(signal, response):
    """Filter a signal with `response(frequencies)`, complex gains at RATE."""
    length = 1 << int(np.ceil(np.log2(len(signal) + RATE // 4)))
    frequencies = np.fft.rfftfreq(length, 1 / RATE)
    spectrum = np.fft.rfft(signal, length) * response(frequencies)
    return np.fft.irfft(spectrum, length)[: len(signal)]


def convolve(signal, response):
    """Convolution by FFT, cut to the length of the signal."""
    length = 1 << int(np.ceil(np.log2(len(signal) + len(response))))
    spectrum = np.fft.rfft(signal, length) * np.fft.rfft(response, length)
    return np.fft.irfft(spectrum, length)[: len(signal)]


def band_power(signal, rate=RATE, band=MARK_BAND):
    """Power (mean square) of a signal within a band."""
    power = np.abs(np.fft.rfft(signal)) ** 2
    frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
    inside = (frequencies >= band[0]) & (frequencies <= band[1])
    return 2 * power[inside].sum() / len(signal) ** 2


def coloured_noise(length, power_response, random):
    """Noise whose power spectrum is `power_response(frequencies)`, of band power 1."""

    def amplitude(frequencies):
        return np.sqrt(power_response(np.maximum(frequencies, 20.0)))

    noise = filter_spectrum(random.standard_normal(length), amplitude)
    return noise / np.sqrt(band_power(noise))


def white_noise(length, random):
    """White noise of band power 1."""
    return coloured_noise(length, np.ones_like, random)


def pink_noise(length, random):
    """Pink noise (3 dB less for each octave) of band power 1."""
    return coloured_noise(length, lambda frequency: 1 / frequency, random)


def ventilation(length, random):
    """Noise of a fan in a duct: pink, and 9 dB an octave above 1 kHz; band power 1."""

    def power(frequency):
        return 1 / (frequency * (1 + (frequency / 1000) ** 2))

    return coloured_noise(length, power, random)


def speech_like_noise(length, random):
    """Noise with the average spectrum and the rhythm of a talker; band power 1.

    The spectrum is about that of Byrne et al., "An international comparison of long-term
    average speech spectra", J. Acoust. Soc. Am. 96, 1994: highest around 500 Hz and 9 dB
    an octave less above. Syllables come about four times a second.
    """

    def power(frequency):
        return 1 / ((1 + (frequency / 600) ** 3) * (1 + (120 / frequency) ** 4))

    count = max(4, 8 * length // RATE)
    syllables = random.standard_normal(count) ** 2
    rhythm = np.interp(np.linspace(0, count - 1, length), np.arange(count), syllables)
    noise = coloured_noise(length, power, random) * np.sqrt(rhythm)
    return noise / np.sqrt(band_power(noise))


def critical_distance():
    """Distance at which direct and reverberant sound are equally strong."""
    absorption_area = 0.161 * np.prod(ROOM_SIZE) / RT60
    return np.sqrt(DIRECTIVITY * absorption_area / (16 * np.pi))


def random_positions(distance, random):
    """Places of a loudspeaker and a microphone in the room, so far from each other."""
    room = np.array(ROOM_SIZE)
    low = np.array([WALL_MARGIN, WALL_MARGIN, HEIGHTS[0]])
    high = np.array([room[0] - WALL_MARGIN, room[1] - WALL_MARGIN, HEIGHTS[1]])
    for _ in range(100000):
        loudspeaker = random.uniform(low, high)
        height = random.uniform(*HEIGHTS) - loudspeaker[2]
        if abs(height) >= distance:
            continue
        angle = random.uniform(0, 2 * np.pi)
        across = np.sqrt(distance**2 - height**2)
        offset = np.array([across * np.cos(angle), across * np.sin(angle), height])
        microphone = loudspeaker + offset
        if np.all(microphone >= low - 1e-9) and np.all(microphone <= high + 1e-9):
            return loudspeaker, microphone
    raise ValueError(f"the room is too small for a distance of {distance} m")


def early_reflections(loudspeaker, microphone, length, latest):
    """Response of the image sources whose sound arrives before `latest` (seconds)."""
    room = np.array(ROOM_SIZE)
    surface = 2 * (room[0] * room[1] + room[0] * room[2] + room[1] * room[2])
    absorption = 0.161 * np.prod(room) / (RT60 * surface)
    response = np.zeros(length)
    # Along each axis: how often the source is mirrored, and where its image is then.
    orders = range(-3, 4)
    axes = [
        [(abs(n), n * side + (x if n % 2 == 0 else side - x)) for n in orders]
        for side, x in zip(room, loudspeaker)
    ]
    for count_x, x in axes[0]:
        for count_y, y in axes[1]:
            for count_z, z in axes[2]:
                reflections = count_x + count_y + count_z
                path = np.linalg.norm(np.array([x, y, z]) - microphone)
                if reflections == 0 or path / SPEED_OF_SOUND >= latest:
                    continue
                index = round(path / SPEED_OF_SOUND * RATE)
                response[index] += (1 - absorption) ** (reflections / 2) / path
    return response


def octave_gains(frequencies):
    """Gains that split a spectrum into octaves, so that the powers add up to 1."""
    centres = np.log2(list(RT60_BY_OCTAVE))
    place = np.clip(np.log2(np.maximum(frequencies, 1.0)), centres[0], centres[-1])
    return [np.cos(np.pi / 2 * np.clip(np.abs(place - c), 0, 1)) for c in centres]


def reverberant_tail(length, begin, random):
    """Noise from `begin` (seconds) on that decays by 60 dB in RT60, octave by octave."""
    times = np.arange(length) / RATE
    tail = np.zeros(length)
    gains = octave_gains(np.fft.rfftfreq(length, 1 / RATE))
    for gain, relative in zip(gains, RT60_BY_OCTAVE.values()):
        noise = np.fft.irfft(np.fft.rfft(random.standard_normal(length)) * gain, length)
        tail += noise * 10 ** (-3 * times / (RT60 * relative))
    tail[: int(begin * RATE)] = 0
    return tail


def room_response(distance, random):
    """Impulse response from loudspeaker to microphone: (direct, reverberant part)."""
    length = int((RT60 * 1.5 + 0.1) * RATE)
    arrival = distance / SPEED_OF_SOUND
    mixing_time = np.sqrt(np.prod(ROOM_SIZE)) / 1000
    direct = np.zeros(length)
    direct[round(arrival * RATE)] = 1 / distance
    positions = random_positions(distance, random)
    early = early_reflections(*positions, length, arrival + mixing_time)
    tail = reverberant_tail(length, arrival + mixing_time, random)

    # Of an exponential decay, this share comes after the mixing time.
    late_share = 10 ** (-6 * mixing_time / RT60)
    if not early.any():
        late_share = 1.0
    reverberant = tail * np.sqrt(late_share / band_power(tail))
    if early.any():
        reverberant += early * np.sqrt((1 - late_share) / band_power(early))
    ratio = (critical_distance() / distance) ** 2
    wanted = band_power(direct) / ratio
    reverberant *= np.sqrt(wanted / band_power(reverberant))
    return direct, reverberant


def loudspeaker(signal):
    """What a small loudspeaker radiates: second-order slopes at both ends of its band."""

    def response(frequencies):
        low = 1j * frequencies / LOUDSPEAKER_BAND[0]
        high = 1j * frequencies / LOUDSPEAKER_BAND[1]
        return low**2 / (1 + np.sqrt(2) * low + low**2) / (1 + np.sqrt(2) * high + high**2)

    return filter_spectrum(signal, response)


def talkers(length, others, random):
    """Three voices from elsewhere in the room, without direct sound; band power 1.

    `others` are recordings (mono, RATE). Without any, the voices are noise.
    """
    sum_of_voices = np.zeros(length)
    for _ in range(3):
        voice = speech_like_noise(length, random)
        if others:
            source = others[random.integers(len(others))]
            begin = random.integers(len(source))
            piece = np.take(source, np.arange(begin, begin + length), mode="wrap")
            # Nothing but silence there: the noise stays.
            if band_power(piece) > 1e-9:
                voice = piece / np.sqrt(band_power(piece))
        sum_of_voices += voice
    heard = convolve(sum_of_voices, reverberant_tail(RATE, 0, random))
    return heard / np.sqrt(band_power(heard))


def room_noise(length, others, random):
    """Ventilation and talkers, equally strong, and microphone noise; band power 1."""
    noise = ventilation(length, random) + talkers(length, others, random)
    noise /= np.sqrt(band_power(noise))
    noise += white_noise(length, random) * 10 ** (MICROPHONE_NOISE / 20)
    return noise / np.sqrt(band_power(noise))


def microphone(signal, length, clock_error):
    """Record `length` samples of a signal at MICROPHONE_RATE.

    The clock of the recorder is fast by `clock_error` parts per million, so what it takes
    for 16000 samples a second are a few more. Interpolates with a windowed sinc.
    """

    def low_pass(frequencies):
        edge = np.clip((frequencies - 7200) / (7900 - 7200), 0, 1)
        return np.cos(np.pi / 2 * edge) ** 2

    smooth = np.concatenate([np.zeros(16), filter_spectrum(signal, low_pass), np.zeros(16)])
    step = RATE / (MICROPHONE_RATE * (1 + clock_error * 1e-6))
    taps = np.arange(-11, 13)
    recording = np.empty(length)
    for begin in range(0, length, 16384):
        place = np.arange(begin, min(begin + 16384, length)) * step + 16
        whole = np.floor(place).astype(int)
        away = (place - whole)[:, None] - taps
        angle = np.pi * away / 12.5
        blackman = 0.42 + 0.5 * np.cos(angle) + 0.08 * np.cos(2 * angle)
        samples = smooth[np.minimum(whole[:, None] + taps, len(smooth) - 1)]
        recording[begin : begin + len(place)] = (samples * np.sinc(away) * blackman).sum(1)
    return recording


def record_in_room(programme, start, seconds, distance, ratios, others, seed):
    """What a microphone in the room hears of `programme` (mono, RATE).

    `start` and `seconds` tell the part. There is one recording for each of `ratios`: the
    signal-to-noise ratio (dB) is that of the power of programme and noise at the microphone
    within MARK_BAND, averaged over the part. The same seed gives the same talkers, noise
    and clock error, and at the same distance the same places. `others` are recordings for
    talkers(). Returns a list of samples at MICROPHONE_RATE.
    """
    random = np.random.default_rng(seed)
    clock_error = random.uniform(*CLOCK_ERROR) * random.choice([-1, 1])
    noise = room_noise(int((seconds + MARGIN) * RATE), others, random)
    direct, reverberant = room_response(distance, random)

    # The room is heard with what was played before, up to a second of it.
    lead = min(start, 1.0)
    begin = int((start - lead) * RATE)
    part = programme[begin : int((start + seconds + MARGIN) * RATE)]
    missing = len(noise) + int(lead * RATE) - len(part)
    part = np.concatenate([part, np.zeros(max(missing, 0))])
    heard = convolve(loudspeaker(part), direct + reverberant)
    heard = heard[int(lead * RATE) :][: len(noise)]
    noise = noise[: len(heard)] * np.sqrt(band_power(heard) / band_power(noise))

    length = int(seconds * MICROPHONE_RATE)
    heard = microphone(heard, length, clock_error)
    noise = microphone(noise, length, clock_error)
    recordings = [heard + noise * 10 ** (-ratio / 20) for ratio in ratios]
    return [r * PEAK / max(np.abs(r).max(), 1e-9) for r in recordings]
