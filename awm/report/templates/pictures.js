"use strict";
// A view of every figure that fills the window, and films that pause.
(() => {
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);
  const button = (text, act) => {
    const made = make("button", { type: "button", textContent: text });
    made.addEventListener("click", act);
    return made;
  };

  // One dialog for all: the picture itself goes there and comes back.
  const dialog = make("dialog", { className: "enlarged" });
  dialog.append(button("Close", () => dialog.close()));
  document.body.append(dialog);
  const enlarge = (picture, name) => {
    const rest = make("div");
    rest.style.height = `${picture.offsetHeight}px`; // the page keeps its place
    picture.replaceWith(rest);
    dialog.append(picture);
    dialog.setAttribute("aria-label", name);
    dialog.addEventListener("close", () => rest.replaceWith(picture), { once: true });
    dialog.showModal();
  };

  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const pausing = (film) => {
    const moving = film.src;
    const made = button("", () => turn(film.src !== moving));
    const turn = (play) => {
      if (!play) {
        const canvas = make("canvas", { width: film.naturalWidth, height: film.naturalHeight });
        canvas.getContext("2d").drawImage(film, 0, 0); // the first frame
        film.src = canvas.toDataURL();
      } else film.src = moving;
      made.textContent = play ? "Pause" : "Play";
    };
    turn(true);
    if (still) film.decode().then(() => turn(false), () => {});
    return made;
  };

  for (const figure of document.querySelectorAll("figure:has(figcaption)")) {
    const picture = figure.querySelector(".drawing, img");
    if (!picture) continue;
    const name = (figure.querySelector("figcaption strong")?.textContent ?? "figure").replace(/\.$/, "");
    const tools = make("span", { className: "picture-tools" });
    const large = button("Enlarge", () => enlarge(picture, name));
    large.setAttribute("aria-label", `Enlarge ${name}`);
    if (picture.src?.startsWith("data:image/gif")) tools.append(pausing(picture));
    tools.append(large);
    figure.querySelector("figcaption").prepend(tools);
  }
})();
