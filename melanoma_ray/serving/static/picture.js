// The picture that is shown, and what the network looked at, drawn over it as strongly as the slider says.

import { explain } from "./service.js";
import { say } from "./texts.js";
import { diagnosisWords, fileName } from "./words.js";

const THUMBNAIL_PX = 144;
const at = (id) => document.getElementById(id);
const addresses = new Map(); // object URLs by the id of the picture that shows them

let shown = null; // the item whose picture is shown
let aspect = null; // how the network's square is made of an oblong image; null: unknown, or its border is cut off

export function setAspect({ image_aspect: name, cuts_border: cutsBorder }) {
  aspect = cutsBorder ? null : (name ?? null);
}

// Return the address of a small copy, for the list; null: this browser can't read the image.
export async function makeThumbnail(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = THUMBNAIL_PX / Math.min(bitmap.width, bitmap.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMBNAIL_PX;
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (THUMBNAIL_PX - width) / 2, (THUMBNAIL_PX - height) / 2, width, height);
    bitmap.close();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
    return URL.createObjectURL(blob);
  } catch {
    return null;
  }
}

function setPicture(id, blob) {
  if (addresses.has(id)) URL.revokeObjectURL(addresses.get(id));
  addresses.set(id, URL.createObjectURL(blob));
  at(id).src = addresses.get(id);
}

function forget(id) {
  if (addresses.has(id)) URL.revokeObjectURL(addresses.get(id));
  addresses.delete(id);
  at(id).removeAttribute("src");
}

// Put the overlay where the network's square lies in the picture.
function placeOverlay() {
  const { naturalWidth: width, naturalHeight: height } = at("preview");
  const isOblong = width !== height;
  const side = aspect === "pad" ? Math.max(width, height) : Math.min(width, height);
  const isAligned = aspect !== null && !at("preview").hidden && width > 0;
  const [across, down] = isAligned && aspect !== "squash" ? [side / width, side / height] : [1, 1];
  Object.assign(at("overlay").style, {
    width: `${100 * across}%`,
    height: `${100 * down}%`,
    left: `${50 * (1 - across)}%`,
    top: `${50 * (1 - down)}%`,
  });
  const isCrop = isAligned && aspect === "crop" && isOblong;
  at("overlay").classList.toggle("part", isCrop);
  at("overlay-part").textContent = isCrop ? say("overlay_crop") : isAligned || at("preview").hidden ? "" : say("overlay_unaligned");
}

function fitStage() {
  const { naturalWidth: width, naturalHeight: height } = at("preview");
  const ratio = at("preview").hidden || !height ? 1 : width / height;
  at("stage").style.aspectRatio = ratio;
  at("stage").style.setProperty("--ratio", ratio);
}

export function showPicture(item) {
  if (shown === item) return;
  shown = item;
  hideOverlay();
  at("preview").hidden = false;
  at("no-preview").hidden = true;
  setPicture("preview", item.file);
}

export function forgetPicture() {
  shown = null;
  hideOverlay();
  forget("preview");
}

// The texts of the picture that depend on the language or the diagnosis.
export function describePicture() {
  if (shown === null) return;
  const diagnosis = diagnosisWords(at("diagnosis").value);
  at("preview").alt = say("preview_alt", { name: fileName(shown.file) });
  at("overlay").alt = say("overlay_alt", { diagnosis });
  at("overlay-caption").textContent = say("overlay_caption", { diagnosis });
  placeOverlay();
}

export const isOverlaid = () => at("explain").getAttribute("aria-pressed") === "true";

export function hideOverlay() {
  at("explain").setAttribute("aria-pressed", "false");
  at("overlay").hidden = at("overlay-controls").hidden = true;
  forget("overlay");
}

// Ask for the evidence for the diagnosis that is chosen, unless this tab has it, and draw it.
export async function showOverlay(signal) {
  const item = shown;
  const diagnosis = at("diagnosis").value;
  item.overlays ??= new Map();
  if (!item.overlays.has(diagnosis)) item.overlays.set(diagnosis, await explain(item.file, diagnosis, signal));
  if (shown !== item || at("diagnosis").value !== diagnosis) return;
  at("explain").setAttribute("aria-pressed", "true");
  setPicture("overlay", item.overlays.get(diagnosis));
  at("overlay").hidden = at("overlay-controls").hidden = false;
  describePicture();
}

function fade() {
  const percent = at("strength").value;
  at("overlay").style.opacity = percent / 100;
  at("strength").setAttribute("aria-valuetext", `${percent} %`);
}

export function listenToPicture() {
  at("strength").addEventListener("input", fade);
  fade();
  at("preview").addEventListener("load", () => {
    fitStage();
    placeOverlay();
  });
  at("preview").addEventListener("error", () => {
    at("preview").hidden = true;
    at("no-preview").hidden = false;
    fitStage();
  });
}
