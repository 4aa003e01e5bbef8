// The list of images: those that wait at its end, the others ranked, each a button that shows its answer.

import { say } from "./texts.js";
import { decisionWords, errorWords, fileName, probabilityWords, shareOf } from "./words.js";

const list = document.getElementById("list");
const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

// A file's name, which may be broken before a dot, a dash or an underscore.
export function nameElement(tag, file) {
  const element = make(tag, { className: "file" });
  for (const part of fileName(file).split(/(?=[._-])/)) element.append(part, document.createElement("wbr"));
  return element;
}

// The place of an item: without an answer first, since it may be anything; then by falling probability; then who waits.
function urgency({ answer, error }) {
  if (error) return 3;
  if (!answer) return -1;
  return answer.melanoma_probability ?? 2;
}

export const rank = (items) => [...items].sort((a, b) => urgency(b) - urgency(a) || a.number - b.number);

function describeItem({ answer, error }) {
  if (error) return { words: errorWords(error), className: "failed" };
  if (answer) return { words: decisionWords(answer.decision), className: answer.decision };
  return { words: say("waiting"), className: "waiting" };
}

function fillRow(item, { show, askAgain }) {
  const { answer, error, file } = item;
  const { words, className } = describeItem(item);
  const box = make(answer ? "button" : "div", answer ? { type: "button" } : {});
  const picture = item.thumbnail ? make("img", { src: item.thumbnail, alt: "" }) : make("span", { className: "blank" });
  const number = make("span", { className: "number", textContent: answer ? shareOf(answer) : "" });
  if (answer) {
    number.setAttribute("role", "img"); // or the label, which says what it is a probability of, isn't read
    number.setAttribute("aria-label", `${probabilityWords(answer)} ${number.textContent}`);
    box.setAttribute("aria-pressed", String(item.row.dataset.shown === "true"));
    box.addEventListener("click", () => show(item));
  }
  box.append(
    picture,
    nameElement("span", file),
    make("span", { className: "verdict", textContent: words }),
    number,
  );
  item.row.className = className;
  item.row.replaceChildren(box);
  if (error?.isPassing) {
    const again = make("button", { type: "button", className: "again", textContent: say("again") });
    again.setAttribute("aria-label", `${say("again")}: ${fileName(file)}`);
    again.addEventListener("click", () => askAgain(item));
    box.append(again);
  }
}

// Draw the items that have changed, and put each row into its place. Only rows that have to move are moved, since a row
// that moves loses the keyboard's focus.
export function drawList(items, { changed, shown, ...handlers }) {
  for (const item of items) item.row ??= make("li");
  for (const item of changed) fillRow(item, handlers);
  const rows = rank(items).map((item) => item.row);
  for (const row of [...list.children]) if (!rows.includes(row)) row.remove();
  for (const [place, row] of rows.entries()) if (list.children[place] !== row) list.insertBefore(row, list.children[place]);
  markShown(items, shown);
}

export function markShown(items, shown) {
  for (const item of items) {
    if (!item.row) continue;
    item.row.dataset.shown = item === shown;
    item.row.querySelector("button:not(.again)")?.setAttribute("aria-pressed", String(item === shown));
  }
}
