// SPDX-License-Identifier: MIT OR Apache-2.0
// Draws the plots of a report. All of them show the same part of the time.
"use strict";
(() => {
    const data = JSON.parse(document.getElementById("data").textContent);
    const seconds = Math.max(data.seconds, 0.1);
    const readout = document.getElementById("readout");
    // The line that the keyboard moves, in seconds.
    let place = 0;
    let part = [0, seconds];
    let plots = [];
    let isSetting = false;
    // Whether the line is where the keyboard put it, rather than at the mouse.
    let isPlaced = false;
    const pictures = {};

    const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

    const clock = (time, digits) => {
        const scale = 10 ** digits;
        const rounded = Math.round(time * scale);
        const minutes = Math.floor(rounded / scale / 60);
        const rest = (rounded / scale - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
        return minutes < 60 ? `${minutes}:${rest}`
            : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
    };

    // To be called when a new scale has taken effect, which is behind the task that sets it.
    const drawLine = () => {
        if (!isPlaced) return;
        plots.forEach(plot => {
            const left = plot.valToPos(place, "x");
            plot.setCursor({ left, top: plot.bbox.height / devicePixelRatio / 2 }, false);
        });
    };

    const show = (from, to) => {
        const width = Math.min(Math.max(to - from, 0.5), seconds);
        const start = Math.min(Math.max(from, 0), seconds - width);
        part = [start, start + width];
        isSetting = true;
        plots.forEach(plot => plot.setScale("x", { min: part[0], max: part[1] }));
        isSetting = false;
        queueMicrotask(drawLine);
    };

    const zoom = (factor, middle) => {
        const width = (part[1] - part[0]) * factor;
        show(middle - width / 2, middle + width / 2);
    };

    const move = share => {
        const by = share * (part[1] - part[0]);
        show(part[0] + by, part[1] + by);
    };

    const tell = time => {
        place = Math.min(Math.max(time, 0), seconds);
        let nearest = -1;
        data.times.forEach((at, index) => {
            if (nearest < 0 || Math.abs(at - place) < Math.abs(data.times[nearest] - place)) nearest = index;
        });
        const isFound = data.spans.some(([from, to]) => from <= place && place <= to);
        const score = nearest < 0 ? "none" : data.scores[nearest].toFixed(1);
        readout.textContent = `At ${clock(place, 1)}: score ${score}, mark ${isFound ? "found" : "not found"}`;
    };

    const point = time => {
        tell(time);
        if (place < part[0] || place > part[1]) move((place - (part[0] + part[1]) / 2) / (part[1] - part[0]));
        isPlaced = true;
        queueMicrotask(drawLine);
    };

    const keys = {
        ArrowLeft: () => point(place - (part[1] - part[0]) / 50),
        ArrowRight: () => point(place + (part[1] - part[0]) / 50),
        Home: () => point(part[0]),
        End: () => point(part[1]),
        "+": () => zoom(0.5, place),
        "=": () => zoom(0.5, place),
        "-": () => zoom(2, place),
        "0": () => show(0, seconds),
    };

    const middle = () => (part[0] + part[1]) / 2;
    const actions = {
        in: () => zoom(0.5, middle()),
        out: () => zoom(2, middle()),
        earlier: () => move(-0.5),
        later: () => move(0.5),
        all: () => show(0, seconds),
    };

    const axis = (isPicture, options) => ({
        stroke: colour("text"), ticks: { stroke: colour("line"), width: 1 },
        grid: { show: !isPicture, stroke: colour("line"), width: 1 },
        labelSize: 20, labelFont: "13px system-ui, sans-serif", font: "12px system-ui, sans-serif", size: 40,
        ...options,
    });

    // Between two times on an axis, in seconds.
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
    const times = (u, splits) => splits.map(time => clock(time, splits[1] - splits[0] < 1 ? 1 : 0));

    const plot = (id, height, figures, series, scale, label, paint) => {
        const target = document.getElementById(id);
        const options = {
            width: target.clientWidth, height, series: [{}, ...series],
            legend: { show: false }, padding: [12, 24, 0, 0],
            cursor: { sync: { key: "time", scales: ["x", null] }, y: false, points: { show: false },
                drag: { x: true, y: false } },
            scales: { x: { time: false, range: (u, min, max) => [min, max], min: part[0], max: part[1] }, y: scale },
            axes: [axis(id in pictures, { values: times, incrs: steps }), axis(id in pictures, { label })],
            hooks: {
                drawClear: [paint],
                setCursor: [u => {
                    if (!u.cursor.event || u.cursor.left < 0) return;
                    isPlaced = false;
                    tell(u.posToVal(u.cursor.left, "x"));
                }],
                setScale: [(u, name) => {
                    if (name === "x" && !isSetting) show(u.scales.x.min, u.scales.x.max);
                }],
            },
        };
        return new uPlot(options, figures, target);
    };

    const paintSpans = u => {
        u.ctx.save();
        u.ctx.beginPath();
        u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
        u.ctx.clip();
        u.ctx.fillStyle = colour("found");
        data.spans.forEach(([from, to]) => {
            const left = u.valToPos(from, "x", true);
            u.ctx.fillRect(left, u.bbox.top, u.valToPos(to, "x", true) - left, u.bbox.height);
        });
        u.ctx.restore();
    };

    const paintPicture = id => u => {
        const image = pictures[id];
        if (!image.complete || !image.naturalWidth) return;
        const { min, max } = u.scales.x;
        const scale = image.naturalWidth / seconds;
        u.ctx.drawImage(image, min * scale, 0, Math.max((max - min) * scale, 1), image.naturalHeight,
            u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    };

    const draw = () => {
        isSetting = true;
        plots.forEach(old => old.destroy());
        const limit = data.times.map(() => data.threshold);
        const highest = Math.max(data.threshold || 0, ...data.scores, 1) * 1.1;
        const lowest = Math.min(0, ...data.scores);
        plots = [plot("score", 260, [data.times, data.scores, limit], [
            { stroke: colour("score"), width: 2, points: { show: false } },
            { stroke: colour("threshold"), width: 2, dash: [6, 4], points: { show: false } },
        ], { range: [lowest, highest] }, "score", paintSpans)];
        for (const id of Object.keys(pictures)) {
            plots.push(plot(id, 240, [[0, seconds], [null, null]], [{}], { range: [0, data.top / 1000] }, "kHz",
                paintPicture(id)));
        }
        isSetting = false;
        show(...part);
    };

    for (const id of ["programme", "mark"]) {
        const image = document.querySelector(`#${id} > img`);
        if (!image) continue;
        pictures[id] = image;
        image.remove();
        image.decode().then(draw, () => {});
    }
    document.querySelectorAll(".plot").forEach(target => target.addEventListener("keydown", event => {
        const action = keys[event.key];
        if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        action();
    }));
    const controls = document.getElementById("controls");
    controls.addEventListener("click", event => {
        const action = actions[event.target.dataset.do];
        if (action) action();
    });
    controls.hidden = false;
    document.getElementById("hint").hidden = false;
    draw();
    let width = document.documentElement.clientWidth;
    addEventListener("resize", () => {
        // Phones tell of a resize when their bars come and go, too.
        if (document.documentElement.clientWidth === width) return;
        width = document.documentElement.clientWidth;
        draw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
