// One image large, with all that is known of it; and the images of one prompt side by side.
let current = null;
const MOST_SHARP = 12;  // so many full images are loaded to be compared; of more, the thumbnails

/** Show an image; the window goes with it, so that closing leaves the person where the image is. */
function open(image) {
  current = image;
  const index = shown.indexOf(image);
  $("detail-title").textContent = index >= 0 ? word("position", number(index + 1), number(shown.length)) : image.id;
  $("previous").disabled = index <= 0;
  $("next").disabled = index < 0 || index >= shown.length - 1;
  stage(image);
  $("prompt").textContent = title(image);
  $("copied").textContent = "";
  const alike = OF_PROMPT.get(image.prompt);
  $("compare-open").hidden = alike.length < 2;
  $("compare-open").textContent = word("compare-n", number(alike.length));
  $("facts").replaceChildren(...facts(image));
  $("relatives").replaceChildren(...relatives("parents", image.parents), ...relatives("children", CHILDREN.get(image.id) || []));
  $("whole").replaceChildren(...whole(image));
  mark("#image=" + image.id);
  document.querySelector(".side").scrollTop = 0;
  if (!$("detail").open) {
    $("detail").showModal();
    $("detail-title").focus();
  }
}

/** The thumbnail at once, the full image as soon as it is there; where it cannot be had, the thumbnail stays. */
function stage(image) {
  const link = $("full-link"), shownNow = $("full");
  shownNow.alt = title(image).slice(0, 500);
  if (small(image)) shownNow.src = small(image); else shownNow.removeAttribute("src");
  if (image.width && image.height) { shownNow.width = image.width; shownNow.height = image.height; }
  else { shownNow.removeAttribute("width"); shownNow.removeAttribute("height"); }
  link.removeAttribute("href");
  link.removeAttribute("aria-label");
  if (!full(image)) return;
  link.href = full(image);
  link.setAttribute("aria-label", word("whole"));
  sharpen(shownNow, image, () => current === image);
}

/** Put the full image in the place of the thumbnail once it is there, if it is still wanted there then. */
function sharpen(place, image, isWanted) {
  const loading = new Image();
  loading.onload = () => { if (isWanted()) place.src = loading.src; };
  loading.src = full(image);
}

function facts(image) {
  const all = [
    ["model", image.model], ["provider", image.provider], ["job", image.job], ["cost", money(image.cost)],
    ["size", bytes(image.size)], ["pixels", image.width ? image.width + " × " + image.height : ""], ["role", image.draft ? word("draft") : ""],
    ["made", time(image.made)], ["archived", time(image.archived)], ["tags", image.tags.join(", ")], ["revised", image.revised],
    ["store", image.store], ["key", image.key, "mono"], ["id", image.id, "mono"],
  ];
  return all.filter(([, value]) => value).flatMap(([name, value, look]) => [element("dt", word(name)), element("dd", value, look ? { class: look } : {})]);
}

/** Images that this one was made of, or that were made of it. */
function relatives(name, ids) {
  if (!ids.length) return [];
  const list = element("ul", "", { role: "list" });
  for (const id of ids) {
    const image = BY_ID.get(id), item = element("li");
    if (image) {
      const button = element("button", "", { type: "button", "aria-label": title(image).slice(0, 200), title: title(image).slice(0, 200) });
      button.append(picture(image));
      button.addEventListener("click", () => { jump(image); $("detail-title").focus(); });
      item.append(button);
    } else item.append(element("span", word("elsewhere", id), { class: "mono" }));
    list.append(item);
  }
  return [element("h3", word(name)), list];
}

function whole(image) {
  if (full(image)) {
    const link = element("a", image.dies ? word("whole-dies", time(image.dies)) : word("whole"), { href: full(image), target: "_blank", rel: "noopener noreferrer" });
    return [link];
  }
  const command = element("code", `archiver get ${image.id} -o ${image.id}.${image.extension}`);
  return [document.createTextNode(died(image) ? word("whole-died", time(image.dies)) : word("whole-none")), element("br"), command];
}

/** Go to an image, also to one that the search leaves out. */
function jump(image) {
  if (shown.indexOf(image) >= 0) active = shown.indexOf(image);
  open(image);
}
function step(by) {
  const index = shown.indexOf(current) + by;
  if (shown.indexOf(current) < 0 || index < 0 || index >= shown.length) return;
  active = index;
  open(shown[index]);
}

async function copy() {
  let done = false;
  try { await navigator.clipboard.writeText(current.prompt); done = true; } catch { done = copyOld(current.prompt); }
  $("copied").textContent = word(done ? "copied" : "not-copied");
}
/** For browsers that let no page from the disk use the clipboard. */
function copyOld(text) {
  const area = element("textarea", text, { "aria-hidden": "true", tabindex: "-1" });
  area.style.position = "fixed";
  $("detail").append(area);
  area.select();
  try { return document.execCommand("copy"); } catch { return false; } finally { area.remove(); $("copy").focus(); }
}

function compare() {
  const alike = OF_PROMPT.get(current.prompt);
  if (alike.length < 2) return;
  $("compare-title").textContent = word("compare-title", number(alike.length));
  $("compare-prompt").textContent = title(current);
  $("compared").replaceChildren(...alike.map((image) => {
    const item = element("li"), button = element("button", "", { type: "button", "aria-label": [word("id"), image.id, about(image)].join(" ") });
    const shownHere = picture(image);
    if (image.width && shownHere.localName === "img") { shownHere.width = image.width; shownHere.height = image.height; }
    if (full(image) && alike.length <= MOST_SHARP) sharpen(shownHere, image, () => shownHere.isConnected);
    button.append(shownHere);
    button.addEventListener("click", () => { $("compare").close(); jump(image); });
    const pixels = image.width ? image.width + " × " + image.height : "";
    item.append(button, element("p", [about(image), pixels, bytes(image.size), time(image.made)].filter(Boolean).join(" · ")), element("p", image.key, { class: "mono" }));
    return item;
  }));
  $("compare").showModal();
  $("compare-title").focus();
}

/** The address names what is shown, so that it can be kept. */
function mark(hash) {
  try { history.replaceState(null, "", hash || location.pathname + location.search); } catch { /* only the address stays as it was */ }
}
