// Each worker over time. In each column of pixels, a phase is as high as its share of the time, so
// that both one long file and a thousand short ones are shown truly.

const view = { from: 0, to: data.elapsed || 1, listeners: [] };
const LEFT = 70, RIGHT = 12, AXIS = 22;
const FAILED = data.phases.length, AGAIN = FAILED + 1, OTHER = FAILED + 2;
const LANE_PHASES = [...data.phases, "failed", "again", "other"];

function look(from, to) {
  const least = Math.max(data.unit * 50, data.elapsed * 1e-6);
  if (to - from < least) return;
  [view.from, view.to] = [Math.max(0, from), Math.min(data.elapsed || 1, to)];
  for (const listener of view.listeners) listener();
}

// A canvas with the resolution of the screen, in the units of the page.
function prepared(canvas, height) {
  const width = canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
  canvas.style.height = height + "px";
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  return [context, width];
}

function timeTicks(from, to, n) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const wanted = (to - from) / n;
  let step = steps.find((x) => x >= wanted) || Math.ceil(wanted / 86400) * 86400;
  if (wanted < 1) step = niceStep(wanted);
  const ticks = [];
  for (let t = Math.ceil(from / step - 1e-9) * step; t <= to + step * 1e-9; t += step) ticks.push(t);
  return ticks;
}

function niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * [1, 2, 5, 10].find((x) => x * power >= wanted * 0.999);
}

function drawTimeAxis(context, width, height) {
  const scale = (width - LEFT - RIGHT) / (view.to - view.from);
  context.fillStyle = color("soft");
  context.strokeStyle = color("rule");
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const t of timeTicks(view.from, view.to, Math.max(2, (width - LEFT) / 90))) {
    const x = Math.round(LEFT + (t - view.from) * scale) + 0.5;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height - AXIS + 4);
    context.stroke();
    context.fillText(t === 0 ? "0" : duration(t), Math.min(x, width - 24), height - AXIS + 6);
  }
}

// Files of each lane, in the order they began. A worker that had several files at once has as many
// lanes.
const nWorkerLanes = Math.max(0, ...data.lanes.map((x) => x + 1));
const lanes = Array.from({ length: nWorkerLanes * data.nHands }, () => []);
let hasFailed = false;
for (const [set, all] of SETS.entries()) {
  for (let i = 0; i < all.n; i++) {
    const began = all.began[i];
    if (!(began >= 0) || all.worker[i] < 0) continue;
    const isBad = ["failed", "killed", "timed out"].includes(data.outcomes[all.outcome[i]]);
    // A failed file has one colour throughout, so that it is easy to find.
    const whole = set === 2 ? OTHER : set ? AGAIN : isBad ? FAILED : null;
    hasFailed ||= whole === FAILED;
    const read = all.read[i], process = all.process[i], write = all.write[i];
    const rest = whole === null ? 0 : all.ended[i];
    lanes[data.lanes[all.worker[i]] * data.nHands + all.hand[i]].push({
      set, i, began, ended: began + read + process + write + rest, whole,
      spans: [read, process, write, rest],
    });
  }
}
for (const lane of lanes) lane.sort((a, b) => a.began - b.began);

function laneHeight() { return Math.max(5, Math.min(24, Math.floor(640 / Math.max(1, lanes.length)))); }

// Seconds of each phase in each column of pixels.
function shares(lane, n, scale) {
  const sums = LANE_PHASES.map(() => new Float64Array(n));
  for (const file of lane) {
    if (file.ended < view.from || file.began > view.to) continue;
    let at = file.began;
    file.spans.forEach((span, phase) => {
      const sum = sums[file.whole === null ? phase : file.whole];
      let from = (at - view.from) * scale, to = (at + span - view.from) * scale;
      at += span;
      from = Math.max(0, from);
      to = Math.min(n, to);
      for (let x = Math.floor(from); x < to; x++) {
        sum[x] += Math.min(to, x + 1) - Math.max(from, x);
      }
    });
  }
  return sums;
}

function drawTimeline() {
  const canvas = document.getElementById("timeline"), each = laneHeight();
  const height = lanes.length * each + AXIS + 4;
  const [context, width] = prepared(canvas, height);
  const n = Math.max(1, Math.floor(width - LEFT - RIGHT)), scale = n / (view.to - view.from);
  drawTimeAxis(context, width, height);
  const gap = each > 8 ? 2 : 1;
  lanes.forEach((lane, number) => {
    const top = number * each, worker = Math.floor(number / data.nHands);
    context.fillStyle = color("idle");
    context.fillRect(LEFT, top, n, each - gap);
    const sums = shares(lane, n, scale);
    const colors = LANE_PHASES.map(color);
    for (let x = 0; x < n; x++) {
      let y = top + each - gap;
      for (let phase = 0; phase < sums.length; phase++) {
        const part = Math.min(1, sums[phase][x]) * (each - gap);
        if (part <= 0) continue;
        // Keep a short file visible in an idle lane.
        const shown = Math.min(y - top, Math.max(part, phase >= FAILED ? 3 : 1));
        context.fillStyle = colors[phase];
        context.fillRect(LEFT + x, y - shown, 1, shown);
        y -= shown;
      }
    }
    if (number % data.nHands === 0 && (each * data.nHands >= 12 || worker % Math.ceil(12 / each) === 0)) {
      context.fillStyle = color("soft");
      context.textAlign = "right";
      context.textBaseline = "middle";
      context.fillText("worker " + (worker + 1), LEFT - 8, top + (each - gap) / 2);
    }
  });
  const text = nWorkerLanes + " workers over " + duration(data.elapsed);
  canvas.setAttribute("aria-label", "What each worker did when: " + text + "; see the table of files");
}

function fileAt(x, y, width) {
  const lane = lanes[Math.floor(y / laneHeight())];
  if (!lane || x < LEFT) return null;
  const pixel = (view.to - view.from) / (width - LEFT - RIGHT);
  const t = view.from + (x - LEFT) * pixel;
  let low = 0, high = lane.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane[middle].began <= t) low = middle + 1; else high = middle;
  }
  const near = [lane[low - 1], lane[low]].filter((f) => f && t >= f.began - pixel && t <= f.ended + pixel);
  return near.find((file) => t <= file.ended) || near[0] || null;
}

function described(file) {
  const all = SETS[file.set], i = file.i;
  const phases = data.phases.map((p) => p + " " + duration(all[p][i])).join(", ");
  const lines = [all.name[i], data.outcomes[all.outcome[i]] + " after " + duration(file.ended - file.began)];
  if (all === inFlight) lines.push(data.inFlight.hooks[i]);
  else lines.push(phases);
  if (all.peak_rss[i] >= 0) lines.push("peak " + bytes(all.peak_rss[i]));
  if (!file.set && messages.has(i)) lines.push(messages.get(i).slice(0, 300));
  return lines.join("\n");
}

function showTip(event, text) {
  const tip = document.getElementById("tip");
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const right = window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = Math.max(4, Math.min(event.pageX + 12, right)) + "px";
  tip.style.top = event.pageY + 16 + "px";
}

// Dragging over a chart with a time axis zooms all of them.
function letZoom(canvas) {
  let start = null;
  const time = (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    return view.from + Math.max(0, Math.min(1, part)) * (view.to - view.from);
  };
  canvas.addEventListener("pointerdown", (event) => { start = time(event); });
  window.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const end = time(event), part = Math.abs(end - start) / (view.to - view.from);
    if (part > 0.005) look(Math.min(start, end), Math.max(start, end));
    start = null;
  });
  canvas.addEventListener("dblclick", () => look(0, data.elapsed || 1));
}
