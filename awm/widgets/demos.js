// What the reader plays with: brings to life the demonstrations in an element, the HTML of
// demos.html.j2, with the data that `find(name)` returns. Nothing is asked for or unpacked before the
// first of them is near the window.
function awmDemos(within, find) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const data = {};
  const part = (name) => data[name] ||= find(name);
  let opened = null;
  const world = () => opened ||= new awmWorld.World(part("world"));
  const fixed = (number, digits = 0) => number.toFixed(digits).replace("-", "−");

  // A screen of 64 × 64 pixels: what V draws, or a picture of a film.
  class Screen {
    constructor(canvas) {
      this.context = canvas.getContext("2d", { willReadFrequently: true });
      this.image = this.context.createImageData(64, 64);
    }

    draw(picture) {
      const { data } = this.image;
      for (let i = 0, at = 0; i < picture.length; at += 4) {
        data[at] = 255 * picture[i++];
        data[at + 1] = 255 * picture[i++];
        data[at + 2] = 255 * picture[i++];
        data[at + 3] = 255;
      }
      this.context.putImageData(this.image, 0, 0);
    }

    show(film, n) {
      const [x, y] = [n % 20, Math.floor(n / 20)];
      if (film.complete) this.context.drawImage(film, 64 * x, 64 * y, 64, 64, 0, 0, 64, 64);
    }

    pixels() {
      return this.context.getImageData(0, 0, 64, 64).data;
    }
  }

  const screens = (root) =>
    Object.fromEntries([...root.querySelectorAll("canvas[data-screen]")].map((c) => [c.dataset.screen, new Screen(c)]));

  const picture = (address) => {
    const image = new Image();
    image.src = address;
    return image;
  };

  // Calls `advance` so many times a second while it runs, and rests while `root` is out of view.
  class Clock {
    constructor(root, advance, { rate = 25, changed = () => {} } = {}) {
      Object.assign(this, { advance, rate, changed, running: false, visible: false, due: 0 });
      new IntersectionObserver((entries) => {
        this.visible = entries.at(-1).isIntersecting;
        this.go();
      }).observe(root);
    }

    set(running) {
      this.running = running;
      this.changed(running);
      this.go();
    }

    go() {
      if (this.waiting || !this.running || !this.visible) return;
      this.waiting = true;
      requestAnimationFrame((now) => {
        this.waiting = false;
        if (!this.running || !this.visible) return;
        if (now >= this.due) {
          this.due = Math.max(this.due + 1000 / this.rate, now);
          this.advance(now);
        }
        this.go();
      });
    }
  }

  // A button that starts and stops a clock.
  const playButton = (button, clock) => {
    clock.changed = (running) => { button.textContent = running ? "Pause" : "Play"; };
    button.addEventListener("click", () => clock.set(!clock.running));
  };

  // Reality beside M's dream of it, or a dream that the reader or C drives.
  function hero(root) {
    const form = root.querySelector("form");
    const field = form.elements;
    const { real, dreamt } = screens(root);
    const dreamScreen = root.querySelector(".screen.dreamt");
    const strip = root.querySelector(".strip");
    const facts = part("world");
    const films = facts.starts.map((start) => picture(start.film));
    const held = new Set();
    const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "gas", ArrowDown: "brake" };
    let driver = "nobody"; // the recorded actions; or "you", or "C"
    let dream, draw, action, steps, total, errors, parted, over;
    let [rests, shown, since] = [0, 0, performance.now()];

    const say = (text) => { root.querySelector(".status").textContent = text; };
    const start = () => Number(form.querySelector("[name=start]:checked").value);
    const model = () => form.querySelector("[name=model]:checked");
    const length = () => world().arrays[`start${start()}.actions`].length / 3;

    // Back to the moment at which the dream begins.
    function reset() {
      [dream, over, action, steps, total, errors, parted] = [null, false, [0, 0, 0], 0, 0, [], null];
      const film = films[start()];
      film.decode().then(() => { if (!steps) { real.show(film, 0); dreamt.show(film, 0); } }).catch(() => {});
      const { controller } = model().dataset;
      field.driver.disabled = !controller;
      field.driver.title = controller ? `C: ${controller}` : "No controller has been evolved for this M";
      if (!controller && driver === "C") hand("you");
      show(null);
    }

    function hand(to) {
      if (to === "nobody" || driver === "nobody") { driver = to; reset(); }
      driver = to;
      root.dataset.driver = driver;
      field.wheel.setAttribute("aria-pressed", String(driver === "you"));
      field.driver.setAttribute("aria-pressed", String(driver === "C"));
      field.compare.hidden = driver === "nobody";
      held.clear();
    }

    // The keys turn the wheel over a few steps; they are on or off, and M has seen few such jerks.
    function human() {
      const aim = held.has("right") - held.has("left");
      const steer = action[0] + Math.max(-0.25, Math.min(0.25, aim - action[0]));
      return [steer, held.has("gas") ? 1 : 0, held.has("brake") ? 0.8 : 0];
    }

    function advance(now) {
      if (over) {
        if (driver !== "nobody" || ++rests < 40) return;
        another();
      }
      if (!dream) {
        dream = new awmWorld.Dream(world(), model().value, start());
        draw = awmWorld.chance(Number(field.seed.value), world().z);
      }
      if (driver === "nobody") action = [...world().row(`start${start()}.actions`, steps, 3)];
      else action = driver === "C" ? dream.drive() : human();
      const expected = dream.step(action, Number(field.temperature.value), draw());
      steps += 1;
      total += expected.reward;
      dreamt.draw(world().decode(dream.z));
      if (driver === "nobody") compare();
      show(expected);
      if (++shown === 20) {
        field.rate.value = (20000 / (now - since)).toFixed(0);
        [shown, since] = [0, now];
      }
      if (driver === "nobody") over = steps >= length();
      else if (expected.ended) {
        over = true;
        say(`M ended the episode at step ${steps}, with a return of ${fixed(total)}.`);
        clock.set(false);
      }
    }

    // How far the two pictures are apart; one is two frames of different moments.
    function compare() {
      real.show(films[start()], steps);
      const [a, b] = [real.pixels(), dreamt.pixels()];
      let sum = 0;
      for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
      errors.push(sum / (255 ** 2 * 3 * 64 * 64) / facts.apart);
      if (parted === null && errors.length > 5 && Math.min(...errors.slice(-5)) > 0.5) parted = steps - 5;
    }

    function show(expected) {
      field.step.value = steps;
      field.reward.value = expected ? fixed(expected.reward, 2) : "–";
      field.return.value = fixed(total, 1);
      field.chance.value = expected ? `${fixed(100 * expected.chance, 2)} %` : "–";
      root.querySelectorAll(".lever").forEach((bar, i) => bar.style.setProperty("--share", action[i]));
      ["steer", "gas", "brake"].forEach((name, i) => { field[name].value = fixed(action[i], 2); });
      showAttention();
      if (driver === "nobody") showStrip();
      else if (!over) say(driver === "C" ? "C drives in M's dream." : "You drive in M's dream.");
    }

    function showStrip() {
      const points = errors.map((e, t) => `${(100 * t) / (length() - 1)},${28 - 26 * Math.min(1, e)}`);
      strip.querySelector("polyline").setAttribute("points", points.join(" "));
      const mark = strip.querySelector("line");
      mark.toggleAttribute("hidden", parted === null);
      if (parted !== null) ["x1", "x2"].forEach((x) => mark.setAttribute(x, (100 * parted) / (length() - 1)));
      const alone = fixed(steps / 50, 1);
      const apart = errors.length ? fixed(100 * Math.min(1, errors.at(-1))) : 0;
      say(parted === null
        ? `${alone} s on its own: the pictures are ${apart} % as far apart as two moments of a drive.`
        : `${alone} s on its own. They parted after ${fixed(parted / 50, 1)} s: M now dreams another road.`);
    }

    function showAttention() {
      const box = root.querySelector(".attention");
      const kind = model().value;
      box.hidden = kind === "plain";
      if (box.hidden) return;
      box.querySelector("p").textContent = kind === "temporal"
        ? "What M attends to: its last states, the latest at the right."
        : "What M attends to: the latents z, and at the right steering, gas and brake.";
      bars(box.querySelector("canvas"), dream && dream.weights, kind === "temporal" ? facts.memory : 0);
    }

    // The next start, with other noise.
    function another() {
      const starts = [...form.querySelectorAll("[name=start]")];
      starts[(start() + 1) % (starts.length - 1 || 1)].checked = true; // the start line last
      field.seed.value = Number(field.seed.value) + 1;
      rests = 0;
      reset();
    }

    const clock = new Clock(root.querySelector(".screens"), advance);
    playButton(field.play, clock);
    const go = (to) => { hand(to); if (over) reset(); clock.set(true); dreamScreen.focus({ preventScroll: true }); };
    field.wheel.addEventListener("click", () => go("you"));
    field.driver.addEventListener("click", () => go(driver === "C" ? "you" : "C"));
    field.compare.addEventListener("click", () => { hand("nobody"); clock.set(true); });
    field.again.addEventListener("click", () => { reset(); clock.set(true); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      if (["start", "model", "seed"].includes(target.name)) reset();
      clock.rate = Number(field.pace.value);
      field.heat.value = Number(field.temperature.value).toFixed(2);
    });

    function hold(name) {
      held.add(name);
      if (driver !== "you") { hand("you"); held.add(name); clock.set(true); }
    }

    // Keys belong to the dream while its screen or one of the pad's buttons has the focus.
    form.addEventListener("keydown", (event) => {
      const pad = event.target.dataset.hold;
      if (event.target !== dreamScreen && !pad) return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const press = event.key === " " || event.key === "Enter";
      const name = keys[event.key] || (press && pad);
      if (name) hold(name);
      else if (press) { if (!event.repeat) clock.set(!clock.running); }
      else if (event.key === "r") reset();
      else return;
      event.preventDefault();
    });
    form.addEventListener("keyup", (event) => held.delete(keys[event.key] || event.target.dataset.hold));
    form.addEventListener("focusout", () => held.clear());
    root.querySelectorAll("[data-hold]").forEach((button) => {
      button.addEventListener("pointerdown", (event) => {
        button.setPointerCapture(event.pointerId);
        hold(button.dataset.hold);
      });
      button.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
      button.addEventListener("lostpointercapture", () => held.delete(button.dataset.hold));
      button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
    });
    form.dispatchEvent(new Event("input"));
    hand("nobody");
    clock.set(!still);
  }

  // Weights as bars, the last at the right; of `count` at most.
  function bars(canvas, weights, count = 0) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!weights) return;
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
    const places = Math.max(count, weights.length);
    const width = canvas.width / places;
    const top = Math.max(...weights);
    weights.forEach((weight, i) => {
      const height = (canvas.height * weight) / top;
      pen.fillRect((places - weights.length + i) * width, canvas.height - height, width - 1, height);
    });
  }

  // The code of a frame, moved by hand.
  function latents(root) {
    const screen = screens(root).decoded;
    const sliders = [...root.querySelectorAll("[type=range]")];
    let z = null;

    function draw() {
      sliders.forEach((slider) => {
        z[slider.dataset.latent] = Number(slider.value);
        slider.nextElementSibling.value = fixed(Number(slider.value), 1);
      });
      screen.draw(world().decode(z));
    }

    function become(code) {
      z = Float32Array.from(code);
      sliders.forEach((slider) => { slider.value = z[slider.dataset.latent]; });
      draw();
    }

    root.querySelectorAll("[data-start]").forEach((button) => {
      button.addEventListener("click", () => become(world().row(`start${button.dataset.start}.codes`, 0, world().z)));
    });
    const seeds = awmWorld.chance(Date.now(), world().z);
    root.querySelector("[name=random]").addEventListener("click", () => become(seeds().normal));
    root.addEventListener("input", draw);
    root.querySelector("[data-start]").click();
  }

  // A lap, step by step: the frame, V's picture of it, M's of the step before, and where M looked.
  function lap(root) {
    const facts = part("look");
    const arrays = awmWorld.unpack(facts);
    const views = screens(root);
    const film = picture(facts.film);
    const scrub = root.querySelector("[name=moment]");
    const count = arrays["look.earned"].length;
    const items = arrays["look.weights"].length / count;
    const row = (name, n, width) => arrays[`look.${name}`].subarray(n * width, (n + 1) * width);
    scrub.max = count - 1;

    function draw() {
      const n = Number(scrub.value);
      views.frame.show(film, n);
      views.kept.draw(world().decode(row("codes", n, world().z)));
      views.expected.draw(world().decode(row("expected", n, world().z)));
      const weights = row("weights", n, items);
      if (views.lit) light(views.lit, film, n, weights);
      else bars(root.querySelector("canvas.weights"), weights);
      root.querySelector(".status").textContent =
        `Step ${n * facts.every}, return so far ${fixed(arrays["look.earned"][n])}.`;
    }

    const clock = new Clock(root, () => {
      scrub.value = (Number(scrub.value) + 1) % count;
      draw();
    });
    playButton(root.querySelector("[name=play]"), clock);
    scrub.addEventListener("input", () => { clock.set(false); draw(); });
    scrub.value = Math.floor(count / 4);
    film.decode().then(draw).catch(() => {});
  }

  // The frame, dark but where M looks: a bell around each place of V's map.
  function light(screen, film, n, weights) {
    screen.show(film, n);
    const image = screen.context.getImageData(0, 0, 64, 64);
    const side = Math.sqrt(weights.length);
    const field = 64 - 8 * (side - 1); // what a place sees, of pixels; places lie 8 apart
    const bell = Array.from({ length: side }, (_, i) => Float32Array.from({ length: 64 }, (_, x) =>
      Math.exp(-0.5 * ((x + 0.5 - field / 2 - 8 * i) / (field / 4)) ** 2)));
    const sums = Float32Array.from({ length: 64 }, (_, x) => bell.reduce((sum, b) => sum + b[x], 0));
    const lights = new Float32Array(64 * 64);
    for (let i = 0; i < side; i++) {
      const across = new Float32Array(64);
      for (let j = 0; j < side; j++) {
        for (let x = 0; x < 64; x++) across[x] += weights[i * side + j] * bell[j][x] / sums[x];
      }
      for (let y = 0; y < 64; y++) {
        const share = bell[i][y] / sums[y];
        for (let x = 0; x < 64; x++) lights[64 * y + x] += share * across[x];
      }
    }
    const top = lights.reduce((a, b) => Math.max(a, b));
    lights.forEach((value, at) => {
      const pixel = image.data.subarray(4 * at, 4 * at + 3);
      const grey = 0.1 * (pixel[0] + pixel[1] + pixel[2]);
      for (let c = 0; c < 3; c++) pixel[c] = grey + (pixel[c] - grey) * (value / top);
    });
    screen.context.putImageData(image, 0, 0);
  }

  // Laps on one track from above, and what V keeps of what the chosen one sees.
  function race(root) {
    const facts = part("race");
    const arrays = awmWorld.unpack(facts);
    const view = screens(root).kept;
    const scrub = root.querySelector("[name=moment]");
    const choices = [...root.querySelectorAll("[name=lap]")];
    const cars = [...root.querySelectorAll("circle[data-lap]")];
    const trails = [...root.querySelectorAll("polyline[data-lap]")];
    const length = (n) => arrays[`lap${n}.earned`].length;
    scrub.max = Math.max(...facts.laps.map((_, n) => length(n))) - 1;

    function draw() {
      const t = Number(scrub.value);
      const chosen = Number(root.querySelector("[name=lap]:checked").value);
      facts.laps.forEach((lap, n) => {
        const at = Math.min(t, length(n) - 1);
        const path = arrays[`lap${n}.path`];
        cars[n].setAttribute("cx", path[2 * at]);
        cars[n].setAttribute("cy", -path[2 * at + 1]);
        let points = "";
        for (let i = Math.max(0, at - 60); i <= at; i++) points += `${path[2 * i]},${-path[2 * i + 1]} `;
        trails[n].setAttribute("points", points);
        cars[n].classList.toggle("chosen", n === chosen);
        root.querySelector(`output[data-lap="${n}"]`).value =
          `${fixed(arrays[`lap${n}.earned`][at])}${at < t || at === length(n) - 1 ? ` after ${lap.steps} steps` : ""}`;
      });
      const at = Math.min(t, length(chosen) - 1);
      view.draw(world().decode(arrays[`lap${chosen}.codes`].subarray(at * world().z, (at + 1) * world().z)));
      root.querySelector(".status").textContent = `${fixed((t * facts.every) / 50, 1)} s`;
    }

    const clock = new Clock(root, () => {
      scrub.value = Number(scrub.value) >= Number(scrub.max) ? 0 : Number(scrub.value) + 1;
      draw();
    });
    playButton(root.querySelector("[name=play]"), clock);
    scrub.addEventListener("input", () => { clock.set(false); draw(); });
    choices.forEach((choice) => choice.addEventListener("change", draw));
    // A point of a figure was chosen; its text begins with an agent's name.
    addEventListener("awm-point", ({ detail }) => {
      const n = facts.laps.findIndex((lap) => detail.startsWith(`${lap.label}, `));
      if (n >= 0) { choices[n].checked = true; draw(); }
    });
    scrub.value = 100; // past the start, where the camera comes close
    draw();
    clock.set(!still);
  }

  // One beginning and the same actions, dreamt at two temperatures.
  function temperature(root) {
    const sides = [...root.querySelectorAll(".screen")].map((side) => ({
      screen: new Screen(side.querySelector("canvas")),
      slider: side.querySelector("[type=range]"),
      output: side.querySelector("output"),
    }));
    const count = part("world").starts.length;
    let [start, steps, seed, dreams, draws] = [0, 0, 1, [], []];

    function begin() {
      steps = 0;
      dreams = sides.map(() => new awmWorld.Dream(world(), part("world").models[0].name, start));
      draws = sides.map(() => awmWorld.chance(seed, world().z));
      sides.forEach(({ screen }, i) => screen.draw(world().decode(dreams[i].z)));
    }

    function advance() {
      const actions = world().arrays[`start${start}.actions`];
      if (3 * steps >= actions.length) {
        start = (start + 1) % (count - 1 || 1);
        seed += 1;
        return begin();
      }
      const action = actions.subarray(3 * steps, 3 * steps + 3);
      steps += 1;
      sides.forEach(({ screen, slider }, i) => {
        dreams[i].step(action, Number(slider.value), draws[i]());
        screen.draw(world().decode(dreams[i].z));
      });
      root.querySelector(".status").textContent = `${fixed(steps / 50, 1)} s on its own, from ${part("world").starts[start].label}`;
    }

    const clock = new Clock(root.querySelector(".screens"), advance);
    playButton(root.querySelector("[name=play]"), clock);
    const label = () => sides.forEach(({ slider, output }) => { output.value = `τ = ${Number(slider.value).toFixed(2)}`; });
    root.addEventListener("input", () => { label(); begin(); });
    label();
    begin();
    clock.set(!still);
  }

  // Each comes to life when it is first near the window.
  const lives = { hero, latents, lap, race, temperature };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      target.querySelectorAll("[hidden].alive").forEach((part) => { part.hidden = false; });
      lives[target.dataset.demo](target);
    }
  }, { rootMargin: "200px" });
  within.querySelectorAll("[data-demo]").forEach((root) => near.observe(root));
}
