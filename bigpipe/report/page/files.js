// The table of files, to search and sort; it shows a hundred rows at a time.

const COLUMNS = [
  ["name", "input", "name", null],
  ["outcome", "outcome", "outcome", null],
  ["began", "began", "number", duration],
  ["seconds", "time", "number", duration],
  ["read", "read", "number", duration],
  ["process", "process", "number", duration],
  ["write", "write", "number", duration],
  ["size", "size", "number", bytes],
  ["peak_rss", "peak RSS", "number", bytes],
  ["projected", "projected", "number", bytes],
  ["attempts", "attempts", "number", String],
].filter(([key, , , write]) => write !== bytes || files[key].some((x) => x >= 0));
const PAGE = 100;
const table = { key: null, isDown: false, shown: PAGE, order: [], lower: null };

function matching() {
  const wanted = document.getElementById("search").value.toLowerCase();
  const outcome = document.getElementById("outcome").value;
  table.lower ||= files.name.map((name, i) =>
    (name + "\n" + files.outname[i] + "\n" + (messages.get(i) || "")).toLowerCase());
  const found = [];
  for (let i = 0; i < files.n; i++) {
    if (outcome && String(files.outcome[i]) !== outcome && outcome !== "kind" + files.kind[i]) continue;
    if (!wanted || table.lower[i].includes(wanted)) found.push(i);
  }
  return found;
}

function sort(found) {
  const key = table.key;
  if (key === null) return found;
  const values = key === "outcome" ? Array.from(files.outcome, (x) => data.outcomes[x]) : files[key];
  const sign = table.isDown ? -1 : 1;
  const rank = (a, b) => {
    const x = values[a], y = values[b];
    if (x !== x || y !== y) return (x !== x) - (y !== y);  // unknown values come last
    return x < y ? -sign : x > y ? sign : a - b;
  };
  return found.sort(rank);
}

function row(i) {
  const line = make("tr");
  const outcome = data.outcomes[files.outcome[i]];
  for (const [key, , kind, write] of COLUMNS) {
    let text = key === "outcome" ? outcome : files[key][i];
    if (write) text = Number.isNaN(text) ? "" : write(text);
    const cell = make("td", text, { class: kind });
    if (key === "outcome" && files.kind[i] >= 0) cell.classList.add("failed");
    if (key === "name") {
      if (files.outname[i]) cell.title = "output: " + files.outname[i];
      if (messages.has(i)) cell.append(make("span", messages.get(i).slice(0, 500), { class: "error" }));
    }
    line.append(cell);
  }
  return line;
}

function fill() {
  const body = document.querySelector("#files tbody");
  body.replaceChildren(...table.order.slice(0, table.shown).map(row));
  const n = table.order.length, more = document.getElementById("more");
  document.getElementById("count").textContent =
    n === files.n ? count(n) + " files" : count(n) + " of " + count(files.n) + " files";
  more.hidden = n <= table.shown;
  more.textContent = "Show more (" + count(Math.max(0, n - table.shown)) + " left)";
}

function search() {
  table.shown = PAGE;
  table.order = sort(matching());
  fill();
}

function sortBy(key) {
  table.isDown = table.key === key ? !table.isDown : !["name", "outcome", "began"].includes(key);
  table.key = key;
  for (const head of document.querySelectorAll("#files th")) {
    if (head.dataset.key === key) {
      head.setAttribute("aria-sort", table.isDown ? "descending" : "ascending");
    } else head.removeAttribute("aria-sort");
  }
  search();
}

function makeTable() {
  const heads = make("tr");
  for (const [key, text, kind] of COLUMNS) {
    const head = make("th", null, { class: kind, "data-key": key, scope: "col" });
    const button = make("button", text, { type: "button" });
    button.addEventListener("click", () => sortBy(key));
    head.append(button);
    heads.append(head);
  }
  document.querySelector("#files thead").append(heads);
  const counts = data.outcomes.map(() => 0);
  for (const outcome of files.outcome) counts[outcome]++;
  const select = document.getElementById("outcome");
  select.append(make("option", "all outcomes", { value: "" }));
  counts.forEach((n, i) => {
    if (n) select.append(make("option", data.outcomes[i] + " (" + count(n) + ")", { value: i }));
  });
  data.kinds.forEach((kind, i) => {
    const text = kind.what + " in " + kind.hook + " (" + count(kind.n) + ")";
    select.append(make("option", text, { value: "kind" + i }));
  });
  select.addEventListener("change", search);
  document.getElementById("search").addEventListener("input", search);
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("more").addEventListener("click", () => { table.shown += 5 * PAGE; fill(); });
  search();
}

function showKind(i) {
  document.getElementById("outcome").value = "kind" + i;
  document.getElementById("search").value = "";
  search();
  document.getElementById("filter").scrollIntoView({ behavior: "smooth" });
}

function makeFailures() {
  document.getElementById("failures-section").hidden = !data.kinds.length;
  document.getElementById("failures").append(...data.kinds.map((kind, i) => {
    const details = make("details");
    const head = make("summary");
    head.append(make("b", kind.what + " in " + kind.hook, { class: "failed" }),
      " \u2014 " + count(kind.n) + (kind.n === 1 ? " file" : " files"));
    details.append(head, make("p", kind.messages[0][1]));
    if (kind.traceback) details.append(make("pre", kind.traceback));
    const button = make("button", "Show in the table", { type: "button" });
    button.addEventListener("click", () => showKind(i));
    details.append(button);
    details.open = i === 0 && data.kinds.length < 3;
    return details;
  }));
}
