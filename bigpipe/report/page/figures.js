"use strict";
// Unpacks the data of the page, and formats numbers for people.

const data = JSON.parse(document.getElementById("data").textContent);

function longNames(column) {
  const names = [];
  let before = "";
  for (let i = 0; i < column.length; i += 2) {
    before = before.slice(0, column[i]) + column[i + 1];
    names.push(before);
  }
  return names;
}

function unrolled(column, n) {
  if (Array.isArray(column)) return Float64Array.from(column);
  const values = new Float64Array(n);
  let at = 0;
  for (let i = 0; i < column.runs.length; i += 2) {
    values.fill(column.runs[i + 1], at, at + column.runs[i]);
    at += column.runs[i];
  }
  return values;
}

const ROLLED = ["outcome", "kind", "size", "peak_rss", "growth", "projected", "attempts", "worker", "hand"];

function unpacked(columns) {
  const files = { name: longNames(columns.name) };
  const n = files.n = files.name.length;
  if (columns.outname) files.outname = longNames(columns.outname);
  for (const key of ROLLED) if (columns[key]) files[key] = unrolled(columns[key], n);
  for (const key of ["began", "ended", ...data.phases]) {
    files[key] = Float64Array.from(columns[key], (x) => x < 0 ? NaN : x * data.unit);
  }
  for (const key of ["size", "peak_rss", "growth", "projected"]) {
    const factor = key === "size" ? 1 : 1024;
    files[key] = files[key].map((x) => x < 0 ? NaN : x * factor);
  }
  files.seconds = files.began.map((_, i) => data.phases.reduce((sum, p) => sum + files[p][i], 0));
  return files;
}

const files = unpacked(data.files);
const superseded = unpacked(data.superseded);
const inFlight = unpacked(data.inFlight);
const SETS = [files, superseded, inFlight];

// Messages of failed files, as many as the page has.
const messages = new Map(data.kinds.flatMap((kind) => kind.messages));

function bytes(n) {
  if (!(n >= 0)) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1023.95 && i < units.length - 1) { n /= 1024; i++; }
  return (i ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

function duration(s) {
  if (!(s >= 0)) return "";
  if (s < 1e-6) return "0 s";
  if (s < 0.001) return (s * 1e6).toFixed(0) + " \u00b5s";
  if (s < 1) return Number((s * 1e3).toPrecision(3)) + " ms";
  if (s < 100) return Number(s.toPrecision(3)) + " s";
  const whole = Math.round(s), h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60;
  const two = (x) => String(x).padStart(2, "0");
  return h ? h + ":" + two(m) + ":" + two(whole % 60) : m + ":" + two(whole % 60) + " min";
}

function count(n) { return Math.round(n).toLocaleString("en-US"); }

function percent(x) { return (100 * x).toFixed(x > 0 && x < 0.1 ? 1 : 0) + " %"; }

// Largest value of a column, which may be long and have unknown values.
function largest(values, start = 0) {
  let most = start;
  for (const value of values) if (value > most) most = value;
  return most;
}

// An element with text inside: text is never read as markup.
function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function legend(id, keys) {
  document.getElementById(id).replaceChildren(...keys.map(([name, text]) => {
    const key = make("span", null, { class: "key" });
    const box = make("i");
    box.style.background = "var(--" + name + ")";
    key.append(box, text);
    return key;
  }));
}
