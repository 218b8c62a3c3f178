"use strict";
// The values of a drawing, by pointer and by keyboard. What a drawing tells of itself is written in
// awm/figures/vector.py.
(() => {
  const make = (properties) => Object.assign(document.createElement("span"), properties);
  const numbers = (text) => (text.match(/-?[\d.]+/g) ?? []).map(Number);

  // From places along one side of some axes to values, and to words.
  const scale = (facts, low, high) => {
    const { label, from, to, log, names } = JSON.parse(facts);
    const value = (place) => {
      const share = (place - low) / (high - low);
      return log ? from * (to / from) ** share : from + share * (to - from);
    };
    const decimals = Math.min(12, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(to - from)))));
    const digits = log ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: decimals };
    const distance = (pair, found) => Math.abs(pair[0] - found);
    const words = (place) => {
      const found = value(place);
      if (!names) return found.toLocaleString("en", digits).replace(/^-0$/, "0").replace("-", "−");
      return names.reduce((a, b) => (distance(b, found) < distance(a, found) ? b : a))[1];
    };
    return (place) => (label || names ? [`${label} ${words(place)}`.trim()] : []);
  };

  // Where something that was drawn to scale has its points, in the drawing's units.
  const places = (mark) => {
    const path = mark.querySelector(":scope > path");
    if (!path) {
      return [...mark.querySelectorAll("use")].map((dot) =>
        ["x", "y"].map((side) => Number(dot.getAttribute(side))));
    }
    const flat = numbers(path.getAttribute("d"));
    const pairs = flat.flatMap((n, i) => (i % 2 ? [] : [[n, flat[i + 1]]]));
    if (mark.dataset.kind === "line") return pairs;
    const [[x0, y0], , [x1, y1]] = pairs; // a bar begins at its base
    return [mark.dataset.kind === "bar" ? [(x0 + x1) / 2, y1] : [x1, (y0 + y1) / 2]];
  };

  // All points of a drawing, as a list for each curve, row of dots or colour of bars.
  const read = (svg) => [...svg.querySelectorAll("[data-axes]")].flatMap((axes) => {
    const [left, top, right, bottom] = numbers(axes.dataset.axes);
    const sayX = scale(axes.dataset.x, left, right);
    const sayY = scale(axes.dataset.y, bottom, top);
    const found = new Map();
    for (const mark of axes.querySelectorAll("[data-label]")) {
      const { label, kind } = mark.dataset;
      const key = kind === "line" ? mark : label;
      const points = places(mark)
        .filter(([x, y]) => x > left - 1 && x < right + 1 && y > top - 1 && y < bottom + 1)
        .map(([x, y]) => ({ x, y, kind, text: `${label}: ${[...sayX(x), ...sayY(y)].join(", ")}` }));
      found.set(key, [...(found.get(key) ?? []), ...points]);
    }
    return [...found.values()].filter((points) => points.length);
  });

  const explain = (drawing) => {
    const known = new Map();
    const spot = make({ className: "spot", hidden: true });
    const tip = make({ className: "tip", hidden: true });
    const live = make({ className: "unseen" });
    tip.setAttribute("aria-hidden", "true");
    live.setAttribute("aria-live", "polite");
    const svg = () => [...drawing.querySelectorAll("svg")].find((each) => each.getClientRects().length);
    const series = () => {
      const shown = svg();
      if (!known.has(shown)) known.set(shown, read(shown));
      return known.get(shown);
    };
    let line = 0, at = -1;
    const hide = () => { spot.hidden = tip.hidden = true; };
    const show = (point, aloud) => {
      const box = drawing.getBoundingClientRect();
      const place = new DOMPoint(point.x, point.y).matrixTransform(svg().getScreenCTM());
      const x = place.x - box.left + drawing.scrollLeft, y = place.y - box.top + drawing.scrollTop;
      spot.hidden = tip.hidden = false;
      tip.textContent = point.text;
      if (aloud) live.textContent = point.text;
      spot.style.translate = `${x}px ${y}px`;
      const across = Math.min(Math.max(x - tip.offsetWidth / 2, drawing.scrollLeft), drawing.scrollLeft + box.width - tip.offsetWidth);
      tip.style.translate = `${across}px ${y > tip.offsetHeight + 12 ? y - tip.offsetHeight - 10 : y + 12}px`;
    };
    const near = ({ clientX, clientY }) => {
      const matrix = svg().getScreenCTM();
      const here = new DOMPoint(clientX, clientY).matrixTransform(matrix.inverse());
      const nearest = { gap: 28 / matrix.a };
      series().forEach((points, i) => points.forEach((point, j) => {
        // Of a bar, being above or below it will do.
        const gap = Math.hypot((here.x - point.x) * (point.kind === "barh" ? 0.1 : 1),
                               (here.y - point.y) * (point.kind === "bar" ? 0.1 : 1));
        if (gap < nearest.gap) Object.assign(nearest, { gap, point, i, j });
      }));
      return nearest;
    };
    const point = (event) => {
      const found = near(event);
      if (!found.point) return hide();
      [line, at] = [found.i, found.j];
      show(found.point);
      // A demonstration may show whose point it is.
      if (event.type === "pointerdown") dispatchEvent(new CustomEvent("awm-point", { detail: found.point.text }));
    };
    const keys = {
      ArrowRight: () => { at += 1; }, ArrowLeft: () => { at -= 1; },
      Home: () => { at = 0; }, End: () => { at = Infinity; },
      ArrowDown: () => { line += 1; }, ArrowUp: () => { line -= 1; },
    };
    const step = (key) => {
      const all = series();
      const before = all[line]?.[at];
      keys[key]?.();
      line = (line + all.length) % all.length;
      if (key.match(/Up|Down/) && before) {
        const gaps = all[line].map(({ x, y }) => Math.hypot(x - before.x, y - before.y));
        at = gaps.indexOf(Math.min(...gaps));
      }
      at = Math.max(0, Math.min(at, all[line].length - 1));
      show(all[line][at], true);
    };
    drawing.append(spot, tip, live);
    drawing.tabIndex = 0;
    drawing.setAttribute("role", "application");
    const name = drawing.closest("figure").querySelector("strong")?.textContent ?? "figure";
    drawing.setAttribute("aria-label", `Values of ${name.replace(/\.$/, "")}: left and right move along a series, up and down between series.`);
    drawing.addEventListener("pointermove", point);
    drawing.addEventListener("pointerdown", point);
    drawing.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    drawing.addEventListener("blur", hide);
    drawing.addEventListener("focus", () => { if (drawing.matches(":focus-visible")) step(""); });
    drawing.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      const chosen = series()[line]?.[at];
      if (event.key === "Enter" && chosen) dispatchEvent(new CustomEvent("awm-point", { detail: chosen.text }));
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      step(event.key);
    });
    document.addEventListener("pointerdown", (event) => { if (!drawing.contains(event.target)) hide(); });
  };
  document.querySelectorAll(".drawing:has([data-axes])").forEach(explain);
})();
