// Search and filters of the report. Everything it works on is in the page already, so without it the
// page is a plain list. It writes text only, never markup.
"use strict";
const clips = [...document.querySelectorAll(".clip")];
const texts = clips.map((clip) => clip.textContent.toLowerCase());
const search = document.querySelector("#search");
const count = document.querySelector("#count");
const nothing = document.querySelector("#nothing");
const whole = document.querySelector("dialog");

function marked(words) {
  if (!window.CSS || !CSS.highlights) return;
  CSS.highlights.delete("found");
  if (!words.length) return;
  const ranges = [];
  for (const clip of clips) {
    if (clip.hidden) continue;
    const walker = document.createTreeWalker(clip, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      // Some letters change their length with their case: their places would be wrong.
      if (text.length !== walker.currentNode.data.length) continue;
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + word.length);
          ranges.push(range);
        }
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges.slice(0, 2000)));
}

function show() {
  const state = document.querySelector("input[name=state]:checked").value;
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  clips.forEach((clip, place) => {
    const fits =
      (!state || clip.dataset.state === state) && words.every((word) => texts[place].includes(word));
    clip.hidden = !fits;
    shown += fits;
  });
  count.textContent = shown === clips.length ? "" : `${shown} of ${clips.length} shown`;
  nothing.hidden = shown > 0 || !clips.length;
  marked(words);
}

function enlarge(button) {
  const picture = button.querySelector("img");
  whole.querySelector("img").src = picture.src;
  whole.querySelector("img").alt = picture.alt;
  whole.querySelector("p").textContent = button.closest(".clip").querySelector("h2").textContent;
  whole.showModal();
}

search.addEventListener("input", show);
for (const input of document.querySelectorAll("input[name=state]")) {
  // Of this page: the head has the numbers of the whole job.
  const here = clips.filter((clip) => !input.value || clip.dataset.state === input.value).length;
  input.closest("label").querySelector("b").textContent = here;
  input.addEventListener("change", show);
}
for (const button of document.querySelectorAll(".sheet")) {
  button.disabled = false;
  button.addEventListener("click", () => enlarge(button));
}
for (const cell of document.querySelectorAll("[data-code]")) {
  const button = document.createElement("button");
  button.append(...cell.childNodes);
  button.title = "show these clips";
  button.addEventListener("click", () => {
    document.querySelector("input[name=state]").checked = true;
    search.value = cell.dataset.code;
    show();
    document.querySelector(".tools").scrollIntoView();
  });
  cell.append(button);
}
whole.addEventListener("click", (event) => {
  if (event.target === whole || event.target.tagName === "IMG") whole.close();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || whole.open) return;
  if (event.key === "/" && event.target !== search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "Escape" && event.target === search) {
    search.value = "";
    show();
  }
});
document.querySelector(".tools").hidden = false;
show();
