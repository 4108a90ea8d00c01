// The images, which of them are wanted, and the grid: only what is near the window is in the page, however many there are.
// Every text is set as text, never as markup: prompts are written by strangers.
const $ = (id) => document.getElementById(id);
const ALL = JSON.parse($("images").textContent);
const BY_ID = new Map(ALL.map((image) => [image.id, image]));
const OF_PROMPT = new Map();
const CHILDREN = new Map();
for (const image of ALL) {
  push(OF_PROMPT, image.prompt, image);
  for (const parent of image.parents) push(CHILDREN, parent, image.id);
}
function push(map, key, value) {
  if (map.has(key)) map.get(key).push(value); else map.set(key, [value]);
}
const plain = (text) => text.normalize("NFKC").toLowerCase();
for (const image of ALL) image.words = plain([image.prompt, image.revised || "", image.id, image.tags.join(" ")].join("\n"));

let shown = ALL;   // the wanted images, in their order
let active = 0;    // which of them has the focus, or would have it

/** A new element with text in it. */
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
/** An address of a full image may be a path, a file or the web, never a script. */
const safe = (address) => (address && /^(?:[a-z][a-z0-9+.-]*):/i.test(address) && !/^(?:https?|file):/i.test(address) ? null : address);
const died = (image) => image.dies && Date.parse(image.dies) <= Date.now();
const full = (image) => (died(image) ? null : safe(image.full));
const small = (image) => image.thumb || full(image);
const title = (image) => image.prompt.trim() || word("no-prompt");
const about = (image) => [image.model, money(image.cost)].filter(Boolean).join(" · ");

/** The picture of a card, or a sign that there is none. */
function picture(image) {
  if (!small(image)) return element("span", "▨", { class: "blank", role: "img", "aria-label": word("no-picture") });
  return element("img", "", { src: small(image), alt: "", loading: "lazy", decoding: "async", draggable: "false" });
}

const GAP = 14;
let columns = 1, side = 200, tall = 276;

function measure() {
  const width = $("grid").clientWidth;
  const wanted = width < 560 ? 158 : 224;
  columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
  side = (width - GAP * (columns - 1)) / columns;
  tall = Math.round(side) + 76;
}

/** Bring the page in line with `shown` and with where the window is. */
function draw() {
  const grid = $("grid");
  const row = tall + GAP, rows = Math.ceil(shown.length / columns);
  grid.style.height = Math.max(0, rows * row - GAP) + "px";
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((top - innerHeight / 2) / row)) * columns;
  const last = Math.min(shown.length, Math.ceil((top + innerHeight * 1.5) / row) * columns);
  const wanted = [];
  if (active < first && active < shown.length) wanted.push(active);  // what has the focus stays, wherever the window is
  for (let index = first; index < last; index++) wanted.push(index);
  if (active >= last && active < shown.length) wanted.push(active);
  const keep = new Set(wanted);
  for (const node of [...grid.children]) {
    if (!keep.has(node.index) || shown[node.index] !== node.image) node.remove();
  }
  let at = grid.firstElementChild;
  for (const index of wanted) {
    if (at && at.index === index) { place(at); at = at.nextElementSibling; } else grid.insertBefore(place(card(index)), at);
  }
}

function place(node) {
  const { index } = node;
  node.style.width = side + "px";
  node.style.height = tall + "px";
  node.style.transform = `translate(${(index % columns) * (side + GAP)}px, ${Math.floor(index / columns) * (tall + GAP)}px)`;
  node.firstElementChild.tabIndex = index === active ? 0 : -1;
  node.setAttribute("aria-setsize", shown.length);
  node.setAttribute("aria-posinset", index + 1);
  return node;
}

function card(index) {
  const image = shown[index];
  const node = element("li");
  const button = element("button", "", { type: "button", class: "card", "aria-haspopup": "dialog" });
  const words = element("span", "", { class: "words" });
  words.append(element("span", title(image).slice(0, 300), { class: "text", dir: "auto" }), element("span", about(image), { class: "meta" }));
  button.append(picture(image), words);
  button.addEventListener("click", () => { active = node.index; open(image); });
  button.addEventListener("focus", () => {
    if (active === node.index) return;
    active = node.index;
    draw();
  });
  node.index = index;
  node.image = image;
  node.append(button);
  return node;
}

/** Move the focus to an image, and the window with it. */
function go(index) {
  active = Math.min(Math.max(index, 0), shown.length - 1);
  if (active < 0) return;
  draw();
  const node = [...$("grid").children].find((one) => one.index === active);
  const box = node.getBoundingClientRect(), above = $("grid").offsetTop > 0 ? document.querySelector("header").offsetHeight : 0;
  const hidden = getComputedStyle(document.querySelector("header")).position === "sticky" ? above : 0;
  if (box.top < hidden + 8) scrollBy(0, box.top - hidden - 8);
  else if (box.bottom > innerHeight - 8) scrollBy(0, box.bottom - innerHeight + 8);
  draw();
  node.firstElementChild.focus({ preventScroll: true });
}

const ORDERS = {
  newest: null,
  oldest: (list) => list.reverse(),
  largest: (list) => list.sort((a, b) => (b.size || 0) - (a.size || 0)),
  dearest: (list) => list.sort((a, b) => (b.cost || 0) - (a.cost || 0)),
};

/** Which images are wanted now. */
function choose() {
  const words = plain($("search").value).split(/\s+/).filter(Boolean);
  const model = $("model").value, job = $("job").value;
  shown = ALL.filter((image) => (!model || image.model === model) && (!job || image.job === job) && words.every((one) => image.words.includes(one)));
  if (ORDERS[$("sort").value]) shown = ORDERS[$("sort").value]([...shown]);
  active = 0;
  $("nothing").hidden = shown.length > 0 || ALL.length === 0;
  $("count").textContent = shown.length === ALL.length ? word("count", number(ALL.length)) : word("some", number(shown.length), number(ALL.length));
  draw();
}

/** A choice among the values that the images have, where there is more than one. */
function offer(id, all) {
  const values = [...new Set(ALL.map((image) => image[id]).filter(Boolean))].sort();
  const before = $(id).value;
  $(id).replaceChildren(element("option", word(all), { value: "" }), ...values.map((one) => element("option", one, { value: one })));
  $(id).value = before;
  $(id).hidden = values.length < 2;
}
