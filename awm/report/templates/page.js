"use strict";
(() => {
  const codeButton = document.getElementById("toggle-code");
  const cells = [...document.querySelectorAll("details.code")];
  const anyOpen = () => cells.some((cell) => cell.open);
  const state = () => {
    codeButton.textContent = anyOpen() ? "Hide code" : "Show code";
    codeButton.setAttribute("aria-pressed", String(anyOpen()));
  };
  const toggleCode = () => {
    const open = !anyOpen();
    cells.forEach((cell) => { cell.open = open; });
    state();
  };
  if (cells.length) {
    codeButton.hidden = false;
    codeButton.addEventListener("click", toggleCode);
    cells.forEach((cell) => cell.addEventListener("toggle", state));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, textarea, select, [contenteditable]");
      if (event.key === "c" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        toggleCode();
      }
    });
  }

  // On a narrow screen the contents start folded, and fold again once a place is chosen.
  const contents = document.querySelector(".contents details");
  const narrow = matchMedia("(max-width: 70rem)");
  const fold = () => { contents.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);
  contents.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) contents.open = false;
  });

  // What is folded away opens when a link leads to it or into it.
  const unfold = (hash) => {
    const details = document.getElementById(decodeURIComponent(hash.slice(1)))?.closest("details");
    if (details && !details.open) details.open = true;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) unfold(link.hash);
  });
  addEventListener("hashchange", () => unfold(location.hash));
  if (location.hash) {
    unfold(location.hash);
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView({ behavior: "instant" });
  }

  // Mark the section that is being read.
  const links = new Map(
    [...document.querySelectorAll(".contents a[href^='#']")].map((a) => [a.hash.slice(1), a])
  );
  const headings = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    let current = headings[0];
    for (const heading of headings) {
      if (heading.getBoundingClientRect().top > 120) break;
      current = heading;
    }
    links.forEach((a) => a.removeAttribute("aria-current"));
    if (current) links.get(current.id).setAttribute("aria-current", "true");
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
})();
