// Memory and waits on the time axis of the workers; memory of each file against its projection.

const samples = data.samples.map(
  ([at, used, budget, nWorkers, inFlight, finished, failed, memory, paused, inputs]) =>
    ({ at, used, budget, nWorkers, inFlight, finished, failed, waits: [memory, paused, inputs] }));
const WAITS = ["memory", "paused", "inputs"];
const WAIT_WORDS = { memory: "for memory", paused: "paused for memory", inputs: "for inputs" };
const isMeasured = samples.some((sample) => sample.used > 0);  // a short run ends before the first measurement
const waited = samples.length ? samples[samples.length - 1].waits : [0, 0, 0];

function byteTicks(most, n) {
  let unit = 1;
  while (most / unit >= 1024) unit *= 1024;
  const step = niceStep(most / unit / n) * unit;
  const ticks = [];
  for (let y = 0; y <= most * 1.0001; y += step) ticks.push(y);
  return ticks;
}

function drawLevels(context, width, ticks, y, text) {
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.strokeStyle = color("rule");
  for (const level of ticks) {
    context.fillStyle = color("soft");
    context.fillText(text(level), LEFT - 8, y(level));
    context.beginPath();
    context.moveTo(LEFT, Math.round(y(level)) + 0.5);
    context.lineTo(width - RIGHT, Math.round(y(level)) + 0.5);
    context.stroke();
  }
}

function clipped(context, width, height, draw) {
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, width - LEFT - RIGHT, height - AXIS);
  context.clip();
  draw();
  context.restore();
}

function drawMemory() {
  const canvas = document.getElementById("memory"), height = 170;
  const [context, width] = prepared(canvas, height);
  const peak = largest(samples.map((sample) => sample.used)), budget = samples[0].budget;
  const isFar = peak < 0.2 * budget;  // on the budget's scale, the memory used would look flat
  const most = 1.1 * (isFar ? peak || 1 : Math.max(peak, largest(samples.map((s) => s.budget))));
  const x = (t) => LEFT + (t - view.from) * (width - LEFT - RIGHT) / (view.to - view.from);
  const y = (level) => (height - AXIS) * (1 - level / most) + 6 * level / most;
  drawTimeAxis(context, width, height);
  drawLevels(context, width, byteTicks(most, 4), y, (level) => level ? bytes(level) : "0");
  clipped(context, width, height, () => {
    context.beginPath();
    context.moveTo(x(0), y(0));
    let before = 0;
    for (const sample of samples) {  // the peak since the sample before
      context.lineTo(x(before), y(sample.used || 0));
      context.lineTo(x(sample.at), y(sample.used || 0));
      before = sample.at;
    }
    context.lineTo(x(before), y(0));
    context.fillStyle = color("memory");
    context.globalAlpha = 0.45;
    context.fill();
    context.globalAlpha = 1;
    context.beginPath();
    samples.forEach((sample, i) => context[i ? "lineTo" : "moveTo"](x(sample.at), y(sample.budget)));
    context.lineTo(x(data.elapsed), y(samples[samples.length - 1].budget));
    context.strokeStyle = color("failed");
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
  });
  context.fillStyle = color("failed");
  context.textAlign = "left";
  context.textBaseline = "top";
  const text = isFar ? "budget: " + bytes(budget) + ", above this chart" : "budget";
  context.fillText(text, LEFT + 6, isFar ? 2 : y(budget) + 4);
  canvas.setAttribute("aria-label", "Memory over time: peak " + bytes(peak) + ", of a budget of "
    + bytes(budget));
}

function drawWaits() {
  const canvas = document.getElementById("waits"), height = 90;
  const [context, width] = prepared(canvas, height);
  const x = (t) => LEFT + (t - view.from) * (width - LEFT - RIGHT) / (view.to - view.from);
  drawTimeAxis(context, width, height);
  const y = (part) => (height - AXIS) * (1 - part) + 6 * part;
  drawLevels(context, width, [0, 0.5, 1], y, percent);
  clipped(context, width, height, () => {
    for (let i = 1; i < samples.length; i++) {
      const a = samples[i - 1], b = samples[i];
      const time = (b.at - a.at) * (b.nWorkers || data.nWorkers || 1);
      let level = 0;
      WAITS.forEach((what, k) => {
        const part = Math.max(0, Math.min(1 - level, (b.waits[k] - a.waits[k]) / time));
        context.fillStyle = color(what);
        const w = Math.max(0.5, x(b.at) - x(a.at) - 0.5);
        context.fillRect(x(a.at), y(level + part), w, y(level) - y(level + part));
        level += part;
      });
    }
  });
  const words = WAITS.map((what, k) => WAIT_WORDS[what] + " " + duration(waited[k])).join(", ");
  canvas.setAttribute("aria-label", "Workers waited, all together: " + words);
}

const LOG_LOW = 2 ** 20;  // sizes below a MiB are drawn as one MiB

function scatterPoints() {
  const points = [];
  for (let i = 0; i < files.n; i++) {
    if (files.projected[i] >= 0 && files.growth[i] >= 0 && files.began[i] >= 0) {
      points.push([Math.max(LOG_LOW, files.projected[i]), Math.max(LOG_LOW, files.growth[i]), i]);
    }
  }
  return points;
}

const points = scatterPoints();
const scatter = { low: 0, high: 1 };

function scatterPlaces(width, height) {
  const scale = (width - LEFT - RIGHT) / (scatter.high - scatter.low);
  const rise = (height - AXIS - 42) / (scatter.high - scatter.low);
  return [
    (n) => LEFT + (Math.log2(n) - scatter.low) * scale,
    (n) => height - AXIS - 18 - (Math.log2(n) - scatter.low) * rise,
  ];
}

function drawScatter() {
  const canvas = document.getElementById("scatter"), height = 300;
  const [context, width] = prepared(canvas, height);
  let [low, high] = [Infinity, LOG_LOW * 2];
  for (const [a, b] of points) { low = Math.min(low, a, b); high = Math.max(high, a, b); }
  scatter.low = Math.floor(Math.log2(low) * 2) / 2;
  scatter.high = Math.ceil(Math.log2(high) * 2 + 0.5) / 2;
  const [x, y] = scatterPlaces(width, height);
  const ticks = [];
  const step = Math.max(1, Math.ceil((scatter.high - scatter.low) / 7));
  for (let k = Math.ceil(scatter.low); k <= scatter.high; k += step) ticks.push(2 ** k);
  drawLevels(context, width, ticks, y, bytes);
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks) {
    context.fillText(bytes(tick), Math.min(x(tick), width - 28), height - AXIS - 12);
  }
  context.textAlign = "right";
  context.fillText("projected", width - RIGHT, height - 15);
  context.textAlign = "left";
  context.fillText("used, beyond the idle worker", LEFT + 6, 2);
  context.beginPath();
  context.moveTo(x(2 ** scatter.low), y(2 ** scatter.low));
  context.lineTo(x(2 ** scatter.high), y(2 ** scatter.high));
  context.strokeStyle = color("soft");
  context.setLineDash([5, 4]);
  context.stroke();
  context.setLineDash([]);
  // Transparent, so that many points on top of one another show as many.
  context.globalAlpha = points.length > 2000 ? 0.25 : 0.75;
  const size = points.length > 2000 ? 2 : 5;
  for (const [a, b] of points) {
    context.fillStyle = color(b > a ? "failed" : "process");
    context.fillRect(x(a) - size / 2, y(b) - size / 2, size, size);
  }
  context.globalAlpha = 1;
  const n = points.filter(([a, b]) => b > a).length;
  canvas.setAttribute("aria-label", count(n) + " of " + count(points.length)
    + " files used more memory than was projected");
}

function pointAt(event, canvas) {
  const box = canvas.getBoundingClientRect(), [x, y] = scatterPlaces(box.width, 300);
  let [found, least] = [null, 64];
  for (const point of points) {
    const far = (x(point[0]) - event.clientX + box.left) ** 2 + (y(point[1]) - event.clientY + box.top) ** 2;
    if (far < least) [found, least] = [point, far];
  }
  return found;
}
