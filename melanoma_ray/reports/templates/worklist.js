"use strict";
// The worklist as a reader's tool: filter, sort, enlarge, review. What is said of an image is kept in the browser's
// local storage, by reader, until it is exported as reviewed.csv (docs/evaluation.md). Nothing leaves the page.

const find = (id) => document.getElementById(id);
const COLUMNS = ["image", "verdict", "diagnosis", "note", "reader", "read_at"];
const VERDICTS = ["agree", "disagree", "unsure"];
const STORE = "melanoma-worklist:" + find("meta").dataset.worklist;
const READER = "melanoma-worklist-reader";
const list = find("cases");
const tools = find("tools");
const viewer = find("viewer");

const cases = list === null ? [] : [...list.querySelectorAll(".case")].map((element) => ({
  element,
  ...element.dataset,
  share: Number(element.dataset.probability),
  position: Number(element.dataset.place),
  text: [...[".name", ".diagnosis", ".faults", ".path"].map((part) => element.querySelector(part)?.textContent ?? ""),
    element.dataset.patient].join(" ").toLowerCase(),
}));
const byKey = new Map(cases.map((one) => [one.key, one]));
const byElement = new Map(cases.map((one) => [one.element, one]));
const headers = list === null ? [] : [...list.querySelectorAll(".patient")];
const whole = list === null ? [] : [...list.children];

let readings = new Map(); // reader → Map(path → reading)
let current = null;
let viewed = null; // what is enlarged: what counts once more when it is closed
let isOverlaid = false;
let isKept = true;
let isExported = true;

// What is kept

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    readings = new Map(Object.entries(kept).map(([reader, own]) => [reader, new Map(Object.entries(own))]));
    tools.elements.reader.value = tools.elements.reader.value || (localStorage.getItem(READER) ?? "");
  } catch {
    isKept = false;
  }
}

function save() {
  isExported = false;
  try {
    const plain = Object.fromEntries([...readings].map(([reader, own]) => [reader, Object.fromEntries(own)]));
    localStorage.setItem(STORE, JSON.stringify(plain));
    localStorage.setItem(READER, readerName());
  } catch {
    isKept = false;
  }
  tell("");
}

// Readings that were made before a name was given become those of the reader who then gives one.
function adopt() {
  const unnamed = readings.get("");
  if (readerName() && unnamed) {
    readings.set(readerName(), new Map([...unnamed, ...(readings.get(readerName()) ?? [])]));
    readings.delete("");
  }
  save();
  refresh();
}

const readerName = () => tools.elements.reader.value.trim();
const readingOf = (one) => readings.get(readerName())?.get(one.key);

function setReading(one, changes) {
  const own = readings.get(readerName()) ?? new Map();
  const reading = { verdict: "", diagnosis: "", note: "", ...own.get(one.key), ...changes };
  reading.read_at = new Date().toISOString();
  if (reading.verdict || reading.diagnosis || reading.note) own.set(one.key, reading);
  else own.delete(one.key);
  readings.set(readerName(), own);
  save();
  showReading(one);
  showCounts();
}

function judge(one, verdict) {
  const earlier = readingOf(one);
  const wasAgreed = earlier?.verdict === "agree" && verdict !== "agree";
  if (verdict === "agree") setReading(one, { verdict, diagnosis: one.diagnosis });
  else setReading(one, wasAgreed ? { verdict, diagnosis: "" } : { verdict });
}

// The list

const isVisible = (one) => !one.element.hidden;

function neighbour(one, step) {
  const order = [...list.children].map((element) => byElement.get(element)).filter((it) => it && isVisible(it));
  const place = order.indexOf(one);
  return place < 0 ? order[0] : order[place + step];
}

function applyFilters() {
  const { search, decision, diagnosis, probability, reading } = tools.elements;
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const least = Number(probability.value) / 100;
  const own = readings.get(readerName());
  for (const one of cases) {
    const isRead = own?.has(one.key) ?? false;
    one.element.hidden = !(
      (!decision.value || one.decision === decision.value)
      && (!diagnosis.value || one.diagnosis === diagnosis.value)
      && one.share >= least
      && (!reading.value || (reading.value === "read") === isRead)
      && words.every((word) => one.text.includes(word)));
  }
  showHeaders();
  showCounts();
}

function showHeaders() {
  const isGrouped = tools.elements.sort.value === "urgency";
  for (const header of headers) {
    let next = header.nextElementSibling;
    let isShown = false;
    for (let left = Number(header.dataset.size); isGrouped && left && next; left -= 1, next = next.nextElementSibling) {
      isShown ||= !next.hidden;
    }
    header.hidden = !isShown;
  }
}

const ORDERS = {
  probability: (a, b) => b.share - a.share || a.position - b.position,
  diagnosis: (a, b) => a.diagnosis.localeCompare(b.diagnosis) || b.share - a.share,
  image: (a, b) => a.image.localeCompare(b.image, undefined, { numeric: true }) || a.position - b.position,
};

function applySort() {
  const order = ORDERS[tools.elements.sort.value];
  const sorted = order ? [...headers, ...[...cases].sort(order).map((one) => one.element)] : whole;
  list.replaceChildren(...sorted);
  applyFilters();
}

function showReading(one) {
  const target = one.element.querySelector(".reading");
  const reading = readingOf(one);
  target.replaceChildren();
  if (!reading) return;
  const verdict = document.createElement("span");
  verdict.className = "verdict";
  verdict.textContent = reading.verdict ? reading.verdict[0].toUpperCase() + reading.verdict.slice(1) : "Noted";
  target.append(verdict, [reading.diagnosis && `: ${reading.diagnosis}`, reading.note && ` (${reading.note})`]
    .filter(Boolean).join(""));
}

function showCounts() {
  const shown = cases.filter(isVisible).length;
  const own = readings.get(readerName());
  const read = cases.filter((one) => own?.has(one.key)).length;
  const number = (count) => count.toLocaleString("en");
  find("shown").textContent = `${number(shown)} of ${number(cases.length)} images shown, ${number(read)} read by `
    + (readerName() || "you (no name is given yet)");
  find("nothing").hidden = shown > 0;
}

function tell(text) {
  const warning = isKept ? "" : "This browser keeps nothing: export your readings before you close the page.";
  find("message").textContent = [warning, text].filter(Boolean).join(" ");
}

function setCurrent(one) {
  if (current) current.element.querySelector(".picture").tabIndex = -1;
  current = one;
  if (one) one.element.querySelector(".picture").tabIndex = 0;
}

function focusOn(one) {
  if (!one) return;
  setCurrent(one);
  const button = one.element.querySelector(".picture");
  button.focus({ preventScroll: true });
  one.element.scrollIntoView({ block: "nearest" });
}

// The enlarged image

function view(one) {
  setCurrent(one);
  viewed = one;
  const picture = one.element.querySelector(".thumbnail");
  const hasOverlay = Boolean(one.overlay);
  find("viewer-picture").src = isOverlaid && hasOverlay ? one.overlay : picture?.src ?? "data:,";
  find("viewer-picture").alt = `Lesion of image ${one.image}, enlarged`;
  find("viewer-map").textContent = !hasOverlay ? "What the network went by wasn't computed for this image."
    : isOverlaid ? "Bright where the network found its evidence; that is no proof that it looked at the right thing." : "";
  find("viewer-title").textContent = `${one.place}. ${one.image}`;
  find("viewer-answer").replaceChildren(...clone(one, ".answer"));
  find("viewer-what").replaceChildren(...clone(one, ".what"));
  find("viewer-overlay").disabled = !hasOverlay;
  find("viewer-overlay").setAttribute("aria-pressed", String(isOverlaid && hasOverlay));
  showControls(one);
  if (!viewer.open) viewer.showModal();
}

const clone = (one, part) => [...one.element.querySelector(part).cloneNode(true).childNodes];

// At once, and not in the dialog's close event, which comes later: until then the browser gives the focus to the image
// that was enlarged first, and a key pressed meanwhile would judge that one.
function closeViewer() {
  setCurrent(viewed);
  keepFields();
  viewer.close();
  focusOn(viewed);
}

function showControls(one) {
  const reading = readingOf(one);
  for (const button of viewer.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", String(reading?.verdict === button.dataset.verdict));
  }
  find("viewer-diagnosis").value = reading?.diagnosis ?? "";
  find("viewer-note").value = reading?.note ?? "";
  const read = cases.filter((it) => readings.get(readerName())?.has(it.key)).length;
  find("viewer-progress").textContent = `${read} of ${cases.length} images of this page are read.`;
  find("viewer-next").disabled = !neighbour(one, 1);
  find("viewer-previous").disabled = !neighbour(one, -1);
}

function step(by) {
  const next = neighbour(current, by);
  if (!next) {
    if (viewer.open) showControls(current);
    tell(by > 0 ? "That was the last image of the list." : "That is the first image of the list.");
    return;
  }
  tell("");
  if (viewer.open) {
    next.element.scrollIntoView({ block: "nearest" });
    view(next);
    find("viewer-title").focus();
  } else focusOn(next);
}

function press(verdict) {
  judge(current, verdict);
  if (verdict !== "disagree") {
    step(1);
    return;
  }
  view(current);
  find("viewer-diagnosis").focus();
}

const ACTIONS = {
  j: () => step(1), ArrowDown: () => step(1), ArrowRight: () => step(1),
  k: () => step(-1), ArrowUp: () => step(-1), ArrowLeft: () => step(-1),
  a: () => press("agree"), d: () => press("disagree"), u: () => press("unsure"),
  n: () => { view(current); find("viewer-note").focus(); },
  c: () => { setReading(current, { verdict: "", diagnosis: "", note: "" }); if (viewer.open) showControls(current); },
  o: () => { isOverlaid = !isOverlaid; view(current); },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !current) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Enter" && viewer.open) {
      event.preventDefault();
      keepFields();
      step(1);
    }
    return;
  }
  const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function keepFields() {
  const reading = readingOf(current) ?? { diagnosis: "", note: "" };
  const diagnosis = find("viewer-diagnosis").value;
  const note = find("viewer-note").value.trim();
  if (diagnosis !== reading.diagnosis || note !== reading.note) setReading(current, { diagnosis, note });
}

// reviewed.csv

const quote = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;

function toCsv() {
  const rows = [...readings].flatMap(([reader, own]) => [...own].map(([image, one]) =>
    [image, one.verdict, one.diagnosis, one.note, reader, one.read_at].map(quote).join(",")));
  return [COLUMNS.join(","), ...rows].join("\r\n") + "\r\n";
}

function exportCsv() {
  const number = [...readings.values()].reduce((sum, own) => sum + own.size, 0);
  if (!number) {
    tell("There are no readings to export.");
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  link.download = "reviewed.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  isExported = true;
  tell(`Exported ${number} ${number === 1 ? "reading" : "readings"} as reviewed.csv.`);
}

function parseCsv(text) {
  const head = text.slice(0, text.indexOf("\n") + 1 || text.length);
  const comma = head.split(";").length > head.split(",").length ? ";" : ",";
  const rows = [[""]];
  let isQuoted = false;
  for (let i = text.charCodeAt(0) === 0xfeff ? 1 : 0; i < text.length; i += 1) {
    const row = rows.at(-1);
    const letter = text[i];
    if (isQuoted && letter === '"' && text[i + 1] === '"') row[row.length - 1] += text[i += 1];
    else if (letter === '"') isQuoted = !isQuoted;
    else if (!isQuoted && letter === comma) row.push("");
    else if (!isQuoted && letter === "\n") rows.push([""]);
    else if (isQuoted || letter !== "\r") row[row.length - 1] += letter;
  }
  const names = rows.shift().map((name) => name.trim().toLowerCase());
  return rows.filter((row) => row.some(Boolean))
    .map((row) => Object.fromEntries(names.map((name, i) => [name, (row[i] ?? "").trim()])));
}

async function importCsv(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  const rows = parseCsv(await file.text());
  const isReviewed = rows.length > 0 && "image" in rows[0] && ("verdict" in rows[0] || "diagnosis" in rows[0]);
  if (!isReviewed) {
    tell(`${file.name}: expected a CSV with the columns ${COLUMNS.join(", ")}, as this page exports it.`);
    return;
  }
  const isAlone = find("meta").dataset.pages === "1";
  const ids = new Map(cases.map((one) => [one.image, one]));
  const found = { taken: 0, older: 0, foreign: 0 };
  for (const row of rows) take(row, byKey.get(row.image) ?? ids.get(row.image), isAlone, found);
  save();
  for (const one of cases) showReading(one);
  applyFilters();
  tell(`${file.name}: took ${found.taken} of ${rows.length} readings`
    + (found.older ? `; ${found.older} are older than what is here` : "")
    + (found.foreign ? `; ${found.foreign} are of images that aren't in this worklist` : "") + ".");
}

function take(row, one, isAlone, found) {
  if (!one && isAlone) {
    found.foreign += 1;
    return;
  }
  const reader = row.reader ?? "";
  const own = readings.get(reader) ?? new Map();
  const key = one?.key ?? row.image;
  const verdict = VERDICTS.includes(row.verdict) ? row.verdict : "";
  const reading = { verdict, diagnosis: row.diagnosis ?? "", note: row.note ?? "", read_at: row.read_at ?? "" };
  const earlier = own.get(key);
  if (earlier && Date.parse(earlier.read_at) > Date.parse(reading.read_at)) {
    found.older += 1;
    return;
  }
  found.taken += 1;
  own.set(key, reading);
  readings.set(reader, own);
}

// Start

function refresh() {
  for (const one of cases) showReading(one);
  applyFilters();
}

function start() {
  for (const part of [tools, find("status"), find("keys")]) part.hidden = false;
  find("scriptless").hidden = true;
  load();
  tell("");
  refresh();
  setCurrent(cases[0] ?? null);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    if (event.target.type === "file") return;
    if (event.target.name === "reader") refresh();
    else if (event.target.name === "sort") applySort();
    else applyFilters();
  });
  tools.elements.reader.addEventListener("change", adopt);
  list.addEventListener("keydown", onKey);
  list.addEventListener("click", (event) => {
    const one = byElement.get(event.target.closest(".case"));
    if (one && event.target.closest(".picture, .reading")) view(one);
  });
  list.addEventListener("focusin", (event) => setCurrent(byElement.get(event.target.closest(".case")) ?? current));
  viewer.addEventListener("keydown", onKey);
  viewer.addEventListener("cancel", closeViewer);
  viewer.addEventListener("click", (event) => {
    const verdict = event.target.closest("[data-verdict]")?.dataset.verdict;
    if (verdict) press(verdict);
  });
  for (const field of ["viewer-diagnosis", "viewer-note"]) {
    find(field).addEventListener("change", () => { keepFields(); showControls(current); });
  }
  find("viewer-previous").addEventListener("click", () => step(-1));
  find("viewer-next").addEventListener("click", () => step(1));
  find("viewer-overlay").addEventListener("click", ACTIONS.o);
  find("viewer-close").addEventListener("click", closeViewer);
  find("start").addEventListener("click", () => {
    const next = cases.filter(isVisible).sort((a, b) => a.position - b.position).find((one) => !readingOf(one));
    if (next) view(next);
    else tell("Every image that is shown has been read by you.");
  });
  find("export").addEventListener("click", exportCsv);
  find("import").addEventListener("change", importCsv);
  window.addEventListener("storage", (event) => { if (event.key === STORE) { load(); refresh(); } });
  window.addEventListener("beforeunload", (event) => { if (!isKept && !isExported) event.preventDefault(); });
}

if (list !== null) start();
