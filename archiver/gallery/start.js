// Keys, buttons, colours and language; then the first drawing.
function dark(on) {
  document.documentElement.dataset.theme = on ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(on));
}
const night = matchMedia("(prefers-color-scheme: dark)");
dark(remembered("theme") ? remembered("theme") === "dark" : night.matches);
night.addEventListener("change", () => { if (!remembered("theme")) dark(night.matches); });
$("theme").addEventListener("click", () => {
  const on = document.documentElement.dataset.theme !== "dark";
  dark(on);
  remember("theme", on ? "dark" : "light");
});

function tell() {
  speak();
  offer("model", "all-models");
  offer("job", "all-jobs");
  const dies = ALL.map((image) => image.dies).filter(Boolean).sort()[0];
  $("dying").hidden = !dies;
  if (dies) $("dying").textContent = word(Date.parse(dies) <= Date.now() ? "died" : "dying", time(dies));
}
$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  remember("language", language);
  tell();
  $("grid").replaceChildren();
  choose();
});

for (const id of ["model", "job", "sort"]) $(id).addEventListener("change", () => { scrollTo(0, 0); choose(); });
$("search").addEventListener("input", () => { scrollTo(0, 0); choose(); });
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("copy").addEventListener("click", copy);
$("compare-open").addEventListener("click", compare);
$("help-open").addEventListener("click", () => $("help").showModal());
for (const id of ["detail", "compare", "help"]) {
  $(id + "-close").addEventListener("click", () => $(id).close());
  $(id).addEventListener("click", (event) => { if (event.target === $(id)) $(id).close(); });  // beside the sheet
}
$("detail").addEventListener("close", () => {
  mark("");
  const index = shown.indexOf(current);  // the browser has just given the focus to the card that it was opened from
  go(index >= 0 ? index : active);
});
$("full").addEventListener("error", () => { if (current && current.thumb && !$("full").src.endsWith(current.thumb)) $("full").src = current.thumb; });

const MOVES = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns, ArrowDown: () => columns,
  PageUp: () => -columns * 3, PageDown: () => columns * 3, Home: () => -Infinity, End: () => Infinity };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const writing = event.target.matches("input, select, textarea");
  const on = ["help", "compare", "detail"].find((id) => $(id).open);
  let done = true;
  if (writing && event.key === "Escape" && event.target.value && event.target.id === "search") { $("search").value = ""; choose(); }
  else if (writing && event.target.id === "search" && ["Enter", "ArrowDown", "Escape"].includes(event.key)) go(0);
  else if (writing) done = false;
  else if (event.key === "?" && on !== "help") $("help").showModal();
  else if (on === "detail" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) step(event.key === "ArrowLeft" ? -1 : 1);
  else if (on === "detail" && event.key === "c") compare();
  else if (on === "detail" && event.key === "y") copy();
  else if (on) done = false;
  else if (event.key === "/") { $("search").focus(); $("search").select(); }
  else if (MOVES[event.key] && event.target.closest("#grid, body") && !event.target.closest("header") && shown.length) go(active + MOVES[event.key]());
  else done = false;
  if (done) event.preventDefault();
});

let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}, { passive: true });
new ResizeObserver(() => { measure(); draw(); }).observe($("grid"));

/** The address may name an image. */
function called() {
  const image = BY_ID.get(new URLSearchParams(location.hash.slice(1)).get("image"));
  if (image) jump(image);
}
addEventListener("hashchange", called);

tell();
measure();
choose();
called();
