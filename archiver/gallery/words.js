// The words of the page, in both languages. A word with {n} takes a number or a text there.
const WORDS = {
  en: {
    skip: "Skip to the images", search: "Search the prompts  ( / )", model: "Model", job: "Job", order: "Order",
    "all-models": "All models", "all-jobs": "All jobs",
    newest: "Newest", oldest: "Oldest", largest: "Largest", dearest: "Dearest",
    dark: "Dark colours", help: "Help", images: "Images", nothing: "No prompt has all of these words.",
    previous: "Previous image", next: "Next image", close: "Close", facts: "About this image",
    prompt: "Prompt", copy: "Copy the prompt", copied: "Copied", "not-copied": "This browser does not let the page copy",
    "compare-n": "Compare the {n} images of this prompt", "compare-title": "{n} images of one prompt",
    provider: "Provider", key: "Permanent key", store: "Store", cost: "Cost", size: "Size", pixels: "Pixels", made: "Made",
    archived: "Archived", id: "Image", revised: "Revised prompt", tags: "Tags", role: "Role", draft: "a draft",
    parents: "Made of", children: "Made from it", elsewhere: "{n} (not in this gallery)",
    whole: "Open the full image", "whole-dies": "Open the full image (this link dies on {n})",
    "whole-died": "The link to the full image died on {n}. Bring it back with:", "whole-none": "Bring the full image back with:",
    dying: "The links to the full images were signed for a time and die on {n}. Until then, whoever has this page sees the images.",
    died: "The links to the full images died on {n}. The thumbnails stay.",
    count: "{n} images", some: "{n} of {m} images", position: "Image {n} of {m}", "no-prompt": "(no prompt)", "no-picture": "no preview",
    "key-search": "search", "key-arrows": "go from image to image", "key-enter": "open an image",
    "key-compare": "compare the images of its prompt", "key-copy": "copy its prompt", "key-escape": "close, or empty the search",
    "key-help": "this help",
  },
  zh: {
    skip: "跳到图片", search: "搜索提示词（按 / ）", model: "模型", job: "任务", order: "排序",
    "all-models": "全部模型", "all-jobs": "全部任务",
    newest: "最新", oldest: "最早", largest: "最大", dearest: "最贵",
    dark: "深色", help: "帮助", images: "图片", nothing: "没有提示词同时包含这些词。",
    previous: "上一张", next: "下一张", close: "关闭", facts: "关于这张图片",
    prompt: "提示词", copy: "复制提示词", copied: "已复制", "not-copied": "浏览器不允许本页复制",
    "compare-n": "对比此提示词的 {n} 张图片", "compare-title": "同一提示词的 {n} 张图片",
    provider: "服务商", key: "永久键", store: "存储", cost: "费用", size: "大小", pixels: "像素", made: "生成时间",
    archived: "存档时间", id: "图片", revised: "改写后的提示词", tags: "标签", role: "类别", draft: "草稿",
    parents: "来源图片", children: "由它生成", elsewhere: "{n}（不在此图库中）",
    whole: "打开原图", "whole-dies": "打开原图（链接于 {n} 失效）",
    "whole-died": "原图链接已于 {n} 失效，可用以下命令取回：", "whole-none": "用以下命令取回原图：",
    dying: "原图链接是限时签名的，将于 {n} 失效。在此之前，拿到本页的人都能看到原图。",
    died: "原图链接已于 {n} 失效；缩略图仍然可看。",
    count: "{n} 张图片", some: "{m} 张图片中的 {n} 张", position: "第 {n} 张，共 {m} 张", "no-prompt": "（无提示词）", "no-picture": "无预览",
    "key-search": "搜索", "key-arrows": "在图片之间移动", "key-enter": "打开图片",
    "key-compare": "对比同一提示词的图片", "key-copy": "复制提示词", "key-escape": "关闭，或清空搜索",
    "key-help": "打开帮助",
  },
};

let language = remembered("language") || ((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");

/** What the person chose earlier; a browser may refuse to keep it. */
function remembered(name) {
  try { return localStorage.getItem("archiver-gallery-" + name); } catch { return null; }
}
function remember(name, value) {
  try { localStorage.setItem("archiver-gallery-" + name, value); } catch { /* it holds until the page closes */ }
}

function word(name, n, m) {
  return (WORDS[language][name] || name).replace("{n}", () => n).replace("{m}", () => m);
}

/** Put the words of the chosen language into everything that stands in the page. */
function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of document.querySelectorAll("[data-word-label]")) node.setAttribute("aria-label", word(node.dataset.wordLabel));
  for (const node of document.querySelectorAll("[data-word-placeholder]")) node.placeholder = word(node.dataset.wordPlaceholder);
  const other = document.getElementById("language");
  other.textContent = language === "zh" ? "EN" : "中";
  other.lang = language === "zh" ? "en" : "zh-CN";
  other.setAttribute("aria-label", language === "zh" ? "EN, English" : "中文");
}
const number = (n) => n.toLocaleString(language === "zh" ? "zh-CN" : "en");
const time = (text) => (text ? new Date(text).toLocaleString(language === "zh" ? "zh-CN" : "en", { dateStyle: "medium", timeStyle: "short" }) : "");
const money = (usd) => (usd === null ? "" : "$" + (usd >= 0.1 || usd === 0 ? usd.toFixed(2) : usd.toFixed(4).replace(/0+$/, "")));
function bytes(n) {
  if (n === null) return "";
  for (const [name, unit] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) if (n >= unit) return (n / unit).toFixed(1) + " " + name;
  return n + " B";
}
