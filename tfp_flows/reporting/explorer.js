// The stage explorer: points, density and warped grid on their way from base to data.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const at = (id) => document.getElementById(id);
  const canvas = at("explorer-canvas"), pen = canvas.getContext("2d");
  const slider = at("stage"), caption = at("stage-caption"), pointValues = at("point-values");
  const follow = at("follow");

  const raw = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(raw(text).buffer);

  const width = data.names.length;
  const colors = raw(data.colors);
  for (const order of data.orders)
    for (const stage of order.stages) {
      for (const key of ["x", "log_prob", "log_det"]) stage[key] = floats(stage[key]);
      if (stage.grid) stage.grid = floats(stage.grid);
      if (stage.density)
        stage.density = width === 2 ? raw(stage.density) : floats(stage.density);
    }

  // State
  let order = data.orders[0].stages;
  let place = order.length - 1; // a whole number at a stage, a fraction between two
  let followed = -1, pinned = false;
  let pair = width > 1 ? [0, 1] : [0];
  let playing = 0;

  // Colours of the page, light or dark
  const styles = getComputedStyle(document.documentElement);
  const color = (name) => styles.getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const mixed = (stops, t) => {
    const s = t * (stops.length - 1), i = Math.min(Math.floor(s), stops.length - 2);
    return stops[i].map((v, k) => v + (stops[i + 1][k] - v) * (s - i));
  };
  const table = (names) => {
    const stops = names.map((name) => rgb(color(name)));
    return Array.from({ length: 256 }, (_, i) => mixed(stops, i / 255));
  };

  // A density as an image, drawn once for each stage and look
  const images = new Map();
  function image(stage, look) {
    const key = `${look}${color("--paper")}`;
    const kept = images.get(stage) || {};
    if (!kept[key]) {
      const shades = table(
        look === "heat"
          ? ["--paper", "--heat-1", "--heat-2", "--heat-3", "--heat-4"]
          : ["--paper", "--shade"]
      );
      const side = Math.sqrt(stage.density.length);
      const sheet = document.createElement("canvas");
      sheet.width = sheet.height = side;
      const pixels = new ImageData(side, side);
      stage.density.forEach((share, cell) => {
        const row = side - 1 - Math.floor(cell / side), column = cell % side;
        const tone = look === "heat" ? share : 255 * Math.pow(share / 255, 0.7);
        pixels.data.set(
          [...shades[Math.round(tone)], 255], 4 * (row * side + column)
        );
      });
      sheet.getContext("2d").putImageData(pixels, 0, 0);
      kept[key] = sheet;
      images.set(stage, kept);
    }
    return kept[key];
  }

  // Geometry
  const margin = { left: 58, right: 14, top: 14, bottom: 44 };
  let size = 480, scale = 1;
  const between = (a, b, t) => a + (b - a) * t;
  const ease = (t) => t * t * (3 - 2 * t);

  function view() {
    const before = order[Math.floor(place)], after = order[Math.ceil(place)];
    const t = ease(place - Math.floor(place));
    const limits = pair.map((i) =>
      [0, 1].map((end) => between(before.limits[i][end], after.limits[i][end], t))
    );
    if (width === 1) {
      const top = (stage) => {
        const sorted = [...stage.density].sort((a, b) => a - b);
        return 1.15 * Math.min(
          sorted[sorted.length - 1], 3 * sorted[Math.floor(0.9 * sorted.length)] + 1e-9
        );
      };
      before.top ??= top(before);
      after.top ??= top(after);
      limits.push([0, between(before.top, after.top, t)]);
    } else if (data.names.length > 2) {
      // Coordinates of similar spread get equal ranges, which keep circles round.
      const spans = limits.map(([low, high]) => high - low);
      const wide = Math.max(...spans);
      if (wide < 3 * Math.min(...spans))
        limits.forEach((pair) => {
          const middle = (pair[0] + pair[1]) / 2;
          pair[0] = middle - wide / 2;
          pair[1] = middle + wide / 2;
        });
    }
    return { before, after, t, limits };
  }

  const inner = () => [
    size - margin.left - margin.right, size - margin.top - margin.bottom,
  ];
  function toScreen(limits) {
    const [w, h] = inner();
    return (x, y) => [
      margin.left + ((x - limits[0][0]) / (limits[0][1] - limits[0][0])) * w,
      margin.top + h - ((y - limits[1][0]) / (limits[1][1] - limits[1][0])) * h,
    ];
  }

  // In one dimension a point stands at a fixed share of the density's height
  const height = Float32Array.from({ length: data.points }, (_, i) =>
    ((i * 0.61803398875) % 1)
  );
  function spot(stage, point) {
    const x = stage.x[point * width + pair[0]];
    if (width === 1) return [x, height[point] * Math.exp(stage.log_prob[point])];
    return [x, stage.x[point * width + pair[1]]];
  }
  function spotNow({ before, after, t }, point) {
    const a = spot(before, point), b = spot(after, point);
    return [between(a[0], b[0], t), between(a[1], b[1], t)];
  }

  // Drawing
  function nice(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const ticks = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step)
      ticks.push(Math.abs(v) < step / 1e6 ? 0 : v);
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    return ticks.map((v) => [
      v, digits > 5 || step >= 1e5 ? v.toExponential(1) : v.toFixed(digits),
    ]);
  }

  function axes(limits) {
    const [w, h] = inner(), screen = toScreen(limits);
    pen.strokeStyle = color("--muted");
    pen.fillStyle = color("--ink");
    pen.lineWidth = 1;
    pen.font = "12px system-ui, sans-serif";
    pen.beginPath();
    pen.moveTo(margin.left, margin.top);
    pen.lineTo(margin.left, margin.top + h);
    pen.lineTo(margin.left + w, margin.top + h);
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const [value, text] of nice(...limits[0])) {
      const [x] = screen(value, 0);
      pen.moveTo(x, margin.top + h);
      pen.lineTo(x, margin.top + h + 4);
      pen.fillText(text, x, margin.top + h + 7);
    }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const [value, text] of nice(...limits[1])) {
      const [, y] = screen(0, value);
      pen.moveTo(margin.left, y);
      pen.lineTo(margin.left - 4, y);
      pen.fillText(text, margin.left - 7, y);
    }
    pen.stroke();
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    const last = place >= order.length - 1;
    const name = (i) => (last ? data.names[pair[i]] : `coordinate ${pair[i]}`);
    pen.fillText(name(0), margin.left + w / 2, size - 8);
    pen.save();
    pen.translate(13, margin.top + h / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(width === 1 ? "density" : name(1), 0, 0);
    pen.restore();
  }

  function drawDensity({ before, after, t, limits }) {
    if (!at("show-density")?.checked) return;
    // Between two stages the density of the nearer one is drawn, more or less faded.
    const stage = t < 0.5 ? before : after, part = Math.abs(1 - 2 * t);
    if (!stage.density) return;
    const screen = toScreen(limits);
    pen.globalAlpha = before === after ? 1 : part;
    if (width === 2) {
      const [[x0, x1], [y0, y1]] = pair.map((i) => stage.limits[i]);
      const [left, bottom] = screen(x0, y0), [right, top] = screen(x1, y1);
      pen.imageSmoothingEnabled = true;
      const sheet = image(stage, at("show-points").checked ? "shade" : "heat");
      if (pair[0] === 0)
        pen.drawImage(sheet, left, top, right - left, bottom - top);
      else {
        // Exchanged axes: the image is mirrored along its diagonal.
        pen.save();
        pen.transform(0, -1, -1, 0, left, bottom);
        pen.drawImage(sheet, 0, left - right, bottom - top, right - left);
        pen.restore();
      }
    } else if (width === 1) {
      const count = stage.density.length, [low, high] = stage.limits[0];
      pen.beginPath();
      pen.moveTo(...screen(low, 0));
      stage.density.forEach((value, i) =>
        pen.lineTo(...screen(low + ((i + 0.5) / count) * (high - low), value))
      );
      pen.lineTo(...screen(high, 0));
      pen.fillStyle = color("--shade");
      pen.globalAlpha *= 0.5;
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function drawGrid({ before, after, t, limits }) {
    if (!at("show-grid")?.checked || !before.grid) return;
    const screen = toScreen(limits), lines = before.grid.length / 2 / data.grid_points;
    pen.strokeStyle = color("--accent");
    pen.globalAlpha = 0.75;
    pen.lineWidth = 1;
    for (let line = 0; line < lines; line++) {
      pen.beginPath();
      let down = false;
      for (let k = 0; k < data.grid_points; k++) {
        const i = 2 * (line * data.grid_points + k);
        const x = between(before.grid[i + pair[0]], after.grid[i + pair[0]], t);
        const y = between(before.grid[i + pair[1]], after.grid[i + pair[1]], t);
        const where = screen(x, y);
        if (!where.every((v) => Math.abs(v) < 1e4)) { down = false; continue; }
        if (down) pen.lineTo(...where);
        else pen.moveTo(...where);
        down = true;
      }
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  function drawPoints(now) {
    if (!at("show-points").checked) return;
    const screen = toScreen(now.limits), side = data.points > 800 ? 2.4 : 3.2;
    pen.globalAlpha = followed < 0 ? 0.85 : 0.35;
    // Dark colours are made lighter on a dark page.
    const lift = rgb(color("--paper"))[0] < 128 ? 0.35 : 0;
    for (let point = 0; point < data.points; point++) {
      const [x, y] = screen(...spotNow(now, point));
      const tone = [0, 1, 2].map((i) => between(colors[3 * point + i], 255, lift));
      pen.fillStyle = `rgb(${tone})`;
      pen.fillRect(x - side / 2, y - side / 2, side, side);
    }
    pen.globalAlpha = 1;
  }

  function drawFollowed(now) {
    if (followed < 0) return;
    const screen = toScreen(now.limits);
    pen.strokeStyle = pen.fillStyle = color("--mark");
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (let k = 0; k <= Math.floor(place); k++) {
      const where = screen(...spot(order[k], followed));
      if (k) pen.lineTo(...where);
      else pen.moveTo(...where);
    }
    const here = screen(...spotNow(now, followed));
    pen.lineTo(...here);
    pen.stroke();
    for (let k = 0; k <= Math.floor(place); k++) {
      pen.beginPath();
      pen.arc(...screen(...spot(order[k], followed)), 2.5, 0, 7);
      pen.fill();
    }
    pen.beginPath();
    pen.arc(...here, 6, 0, 7);
    pen.stroke();
  }

  function draw() {
    const now = view();
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.fillStyle = color("--paper");
    pen.fillRect(0, 0, size, size);
    pen.save();
    pen.beginPath();
    pen.rect(margin.left, margin.top, ...inner());
    pen.clip();
    drawDensity(now);
    drawGrid(now);
    drawPoints(now);
    drawFollowed(now);
    pen.restore();
    axes(now.limits);
  }

  // Captions
  const number = (v) => (Number.isFinite(v) ? Number(v.toPrecision(4)).toString() : "not finite");
  function describe() {
    const k = Math.round(place), stage = order[k];
    caption.textContent =
      `${k} of ${order.length - 1}: ${stage.composed} — ${stage.name}`;
    canvas.setAttribute(
      "aria-label",
      `${data.points} points after stage ${k} of ${order.length - 1}, ${stage.name}`
    );
    slider.setAttribute("aria-valuetext", caption.textContent);
    if (followed < 0) {
      pointValues.textContent = data.hint;
      return;
    }
    const x = Array.from({ length: width }, (_, i) => number(stage.x[followed * width + i]));
    pointValues.textContent =
      `Point ${followed}: (${x.join(", ")}), log-density ` +
      `${number(stage.log_prob[followed])} nats` +
      (k ? `, log|det| of this stage ${number(stage.log_det[followed])}` : "");
  }

  function show(where) {
    place = Math.min(Math.max(where, 0), order.length - 1);
    slider.value = place;
    describe();
    draw();
  }

  function fit() {
    size = Math.min(canvas.parentElement.clientWidth, 560);
    scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(size * scale);
    canvas.style.width = canvas.style.height = `${size}px`;
    draw();
  }

  // Input
  function near(event) {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const now = view(), screen = toScreen(now.limits);
    let best = -1, least = 18 * 18;
    for (let point = 0; point < data.points; point++) {
      const [u, v] = screen(...spotNow(now, point));
      const far = (u - x) ** 2 + (v - y) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }
  function followPoint(point) {
    followed = point;
    follow.value = point < 0 ? "" : point;
    describe();
    draw();
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!pinned) followPoint(near(event));
  });
  canvas.addEventListener("pointerleave", () => {
    if (!pinned) followPoint(-1);
  });
  canvas.addEventListener("click", (event) => {
    const point = near(event);
    pinned = point >= 0;
    followPoint(point);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(Math.round(place) + step);
    else if (event.key === "Escape") { pinned = false; followPoint(-1); }
    else return;
    event.preventDefault();
  });
  follow.addEventListener("input", () => {
    const point = follow.value === "" ? -1 : Number(follow.value);
    pinned = Number.isInteger(point) && point >= 0 && point < data.points;
    followPoint(pinned ? point : -1);
  });

  slider.max = order.length - 1;
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  slider.addEventListener("change", () => show(Math.round(place)));
  slider.addEventListener("keydown", (event) => {
    const whole = Math.round(place);
    const where = {
      ArrowRight: whole + 1, ArrowUp: whole + 1, ArrowLeft: whole - 1,
      ArrowDown: whole - 1, Home: 0, End: order.length - 1,
    }[event.key];
    if (where === undefined) return;
    stop();
    show(where);
    event.preventDefault();
  });
  for (const id of ["show-density", "show-points", "show-grid"])
    at(id)?.addEventListener("change", draw);
  for (const [i, id] of ["coordinate-x", "coordinate-y"].entries())
    at(id)?.addEventListener("change", (event) => {
      const chosen = Number(event.target.value);
      // Both axes show different coordinates, so the other axis takes the old one.
      if (pair[1 - i] === chosen) pair[1 - i] = pair[i];
      pair[i] = chosen;
      at("coordinate-x").value = pair[0];
      at("coordinate-y").value = pair[1];
      draw();
    });
  at("order")?.addEventListener("change", (event) => {
    order = data.orders[event.target.value].stages;
    show(place);
  });

  const button = at("play");
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "Play";
    button.setAttribute("aria-pressed", "false");
  }
  button.addEventListener("click", () => {
    if (playing) { stop(); show(Math.round(place)); return; }
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
    let from = place >= order.length - 1 ? 0 : place, start = null;
    const frame = (time) => {
      start ??= time;
      // The film moves for a second and rests for half a second at each stage.
      const run = from + (time - start) / 1500, whole = Math.floor(run);
      const where = whole + Math.min((run - whole) * 1.5, 1);
      if (where >= order.length - 1) { stop(); show(order.length - 1); return; }
      show(where);
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  });

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(fit).observe(canvas.parentElement);
  fit();
  show(place);
})();
