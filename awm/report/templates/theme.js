"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("toggle-theme");

  // Storage is refused to pages from disk in some browsers; the toggle then forgets.
  const remember = (value) => { try { localStorage.setItem("awm-theme", value); } catch (_) {} };
  const remembered = () => { try { return localStorage.getItem("awm-theme"); } catch (_) { return null; } };

  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  const stored = remembered();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    label();
  });
  system.addEventListener("change", label);
  button.hidden = false;
  label();
})();
