// What the reader plays with: brings to life the demonstrations in an element, the HTML of
// demos.html.j2, with the data that `find(name)` returns. Nothing is asked for or unpacked before the
// first of them is near the window.
function awmDemos(within, find) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const fixed = (number, digits = 0) => number.toFixed(digits).replace("-", "−");

  // A screen of 64 × 64 pixels: what V draws, or a picture of a film.
  class Screen {
    constructor(canvas) {
      this.context = canvas.getContext("2d", { willReadFrequently: true });
    }

    draw(picture) {
      const image = this.context.createImageData(64, 64);
      image.data.fill(255);
      picture.forEach((value, i) => { image.data[i + Math.floor(i / 3)] = 255 * value; });
      this.context.putImageData(image, 0, 0);
    }

    show(film, n) {
      const [x, y] = [n % 20, Math.floor(n / 20)];
      if (film.complete) this.context.drawImage(film, 64 * x, 64 * y, 64, 64, 0, 0, 64, 64);
    }

    pixels() {
      return this.context.getImageData(0, 0, 64, 64);
    }
  }

  const screens = (root) =>
    Object.fromEntries([...root.querySelectorAll("canvas[data-screen]")].map((c) => [c.dataset.screen, new Screen(c)]));

  const picture = (address) => Object.assign(new Image(), { src: address });

  // Calls `advance` so many times a second while it runs, which the play button starts and stops; it
  // rests while its screens are out of view.
  class Clock {
    constructor(root, advance) {
      Object.assign(this, { advance, rate: 25, running: false, visible: false, due: 0 });
      this.button = root.querySelector("[name=play]");
      this.button.addEventListener("click", () => this.set(!this.running));
      new IntersectionObserver((entries) => {
        this.visible = entries.at(-1).isIntersecting;
        this.go();
      }).observe(root.querySelector(".screens") || root);
    }

    set(running) {
      this.running = running;
      this.button.textContent = running ? "Pause" : "Play";
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

  // `count` moments, of which `draw` shows the one that the slider is at, moved by hand or by a clock.
  function scrubbed(root, count, first, draw) {
    const slider = root.querySelector("[name=moment]");
    const show = () => draw(Number(slider.value));
    const clock = new Clock(root, () => {
      slider.value = (Number(slider.value) + 1) % count;
      show();
    });
    slider.max = count - 1;
    slider.value = first;
    slider.addEventListener("input", () => { clock.set(false); show(); });
    return { clock, show };
  }

  // Reality beside M's dream of it, or a dream that the reader or C drives.
  function hero(root, world) {
    const form = root.querySelector("form");
    const field = form.elements;
    const { real, dreamt } = screens(root);
    const dreamScreen = root.querySelector(".screen.dreamt");
    const strip = root.querySelector(".strip");
    const films = world.starts.map((start) => picture(start.film));
    const held = new Set();
    const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "gas", ArrowDown: "brake" };
    let driver = "nobody"; // the recorded actions; or "you", or "C"
    let dream, draw, action, steps, total, errors, parted, over;
    let [rests, shown, since] = [0, 0, performance.now()];

    const say = (text) => { root.querySelector(".status").textContent = text; };
    const start = () => Number(field.start.value);
    const recorded = () => world.arrays[`start${start()}.actions`];

    // Back to the moment at which the dream begins.
    function reset() {
      [dream, over, action, steps, total, errors, parted] = [null, false, [0, 0, 0], 0, 0, [], null];
      const film = films[start()];
      film.decode().then(() => { if (!steps) { real.show(film, 0); dreamt.show(film, 0); } }).catch(() => {});
      const { controller } = world.models.find(({ name }) => name === field.model.value);
      field.driver.disabled = !controller;
      field.driver.title = controller ? `C: ${controller}` : "No controller has been evolved for this M";
      if (!controller && driver === "C") hand("you");
      show(null);
    }

    function hand(to) {
      const anew = to === "nobody" || driver === "nobody";
      driver = to;
      if (anew) reset();
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
        dream = new awmWorld.Dream(world, field.model.value, start());
        draw = awmWorld.chance(Number(field.seed.value), world.z);
      }
      if (driver === "nobody") action = [...recorded().row(steps)];
      else action = driver === "C" ? dream.drive() : human();
      const expected = dream.step(action, Number(field.temperature.value), draw());
      steps += 1;
      total += expected.reward;
      dreamt.draw(world.decode(dream.z));
      if (driver === "nobody") compare();
      show(expected);
      if (++shown === 20) {
        field.rate.value = (20000 / (now - since)).toFixed(0);
        [shown, since] = [0, now];
      }
      if (driver === "nobody") over = steps >= recorded().count;
      else if (expected.ended) {
        over = true;
        say(`M ended the episode at step ${steps}, with a return of ${fixed(total)}.`);
        clock.set(false);
      }
    }

    // How far the two pictures are apart; one is two frames of different moments.
    function compare() {
      real.show(films[start()], steps);
      const [a, b] = [real, dreamt].map((screen) => screen.pixels().data);
      const sum = a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
      errors.push(sum / (255 ** 2 * 3 * 64 * 64) / world.apart);
      if (parted === null && errors.length > 5 && Math.min(...errors.slice(-5)) > 0.5) parted = steps - 5;
    }

    function show(expected) {
      field.step.value = steps;
      field.reward.value = expected ? fixed(expected.reward, 2) : "–";
      field.return.value = fixed(total, 1);
      field.chance.value = expected ? `${fixed(100 * expected.chance, 2)} %` : "–";
      ["steer", "gas", "brake"].forEach((name, i) => {
        field[name].value = fixed(action[i], 2);
        root.querySelector(`.lever.${name}`).style.setProperty("--share", action[i]);
      });
      showAttention();
      if (driver === "nobody") showStrip();
      else if (!over) say(driver === "C" ? "C drives in M's dream." : "You drive in M's dream.");
    }

    function showStrip() {
      const across = (step) => (100 * step) / (recorded().count - 1);
      const points = errors.map((e, t) => `${across(t)},${28 - 26 * Math.min(1, e)}`);
      strip.querySelector("polyline").setAttribute("points", points.join(" "));
      const mark = strip.querySelector("line");
      mark.toggleAttribute("hidden", parted === null);
      for (const x of ["x1", "x2"]) mark.setAttribute(x, across(parted));
      const alone = fixed(steps / 50, 1);
      const apart = errors.length ? fixed(100 * Math.min(1, errors.at(-1))) : 0;
      say(parted === null
        ? `${alone} s on its own: the pictures are ${apart} % as far apart as two moments of a drive.`
        : `${alone} s on its own. They parted after ${fixed(parted / 50, 1)} s: M now dreams another road.`);
    }

    function showAttention() {
      const box = root.querySelector(".attention");
      const past = field.model.value === "temporal";
      box.hidden = field.model.value === "plain";
      if (box.hidden) return;
      box.querySelector("p").textContent = past
        ? "What M attends to: its last states, the latest at the right."
        : "What M attends to: the latents z, and at the right steering, gas and brake.";
      bars(box.querySelector("canvas"), dream?.weights || [], past ? world.memory : 0);
    }

    // The next start, with other noise.
    function another() {
      field.start.value = (start() + 1) % (world.starts.length - 1 || 1); // the start line last
      field.seed.value = Number(field.seed.value) + 1;
      rests = 0;
      reset();
    }

    const clock = new Clock(root, advance);
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
      if (driver !== "you") { hand("you"); clock.set(true); }
      held.add(name);
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

  // Weights as bars, the last at the right; in room for `count` of them, or for all.
  function bars(canvas, weights, count = 0) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
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
  function latents(root, world) {
    const screen = screens(root).decoded;
    const sliders = [...root.querySelectorAll("[type=range]")];
    let z = null;

    function draw() {
      sliders.forEach((slider) => {
        z[slider.dataset.latent] = Number(slider.value);
        slider.nextElementSibling.value = fixed(Number(slider.value), 1);
      });
      screen.draw(world.decode(z));
    }

    function become(code) {
      z = Float32Array.from(code);
      sliders.forEach((slider) => { slider.value = z[slider.dataset.latent]; });
      draw();
    }

    root.querySelectorAll("[data-start]").forEach((button) => {
      button.addEventListener("click", () => become(world.arrays[`start${button.dataset.start}.codes`].row(0)));
    });
    const seeds = awmWorld.chance(Date.now(), world.z);
    root.querySelector("[name=random]").addEventListener("click", () => become(seeds().normal));
    root.addEventListener("input", draw);
    root.querySelector("[data-start]").click();
  }

  // A lap, step by step: the frame, V's picture of it, M's of the step before, and where M looked.
  function lap(root, world, facts) {
    const { codes, expected, weights, earned, bells } = awmWorld.unpack(facts);
    const views = screens(root);
    const film = picture(facts.film);
    const { show } = scrubbed(root, earned.count, Math.floor(earned.count / 4), (n) => {
      views.frame.show(film, n);
      views.kept.draw(world.decode(codes.row(n)));
      views.expected.draw(world.decode(expected.row(n)));
      if (views.lit) light(views.lit, film, n, weights.row(n), bells);
      else bars(root.querySelector("canvas.weights"), weights.row(n));
      root.querySelector(".status").textContent = `Step ${n * facts.every}, return so far ${fixed(earned[n])}.`;
    });
    film.decode().then(show).catch(() => {});
  }

  // The frame, dark but where M looks: light in the shape of a bell around each place of V's map.
  function light(screen, film, n, weights, bells) {
    screen.show(film, n);
    const image = screen.pixels();
    const side = bells.count;
    const rows = Array.from({ length: side }, (_, i) => Float32Array.from({ length: 64 }, (_, x) =>
      weights.subarray(i * side, (i + 1) * side).reduce((sum, weight, j) => sum + weight * bells.row(j)[x], 0)));
    const lights = Float32Array.from({ length: 64 * 64 }, (_, at) =>
      rows.reduce((sum, row, i) => sum + bells.row(i)[Math.floor(at / 64)] * row[at % 64], 0));
    const top = lights.reduce((a, b) => Math.max(a, b));
    lights.forEach((value, at) => {
      const pixel = image.data.subarray(4 * at, 4 * at + 3);
      const grey = 0.1 * (pixel[0] + pixel[1] + pixel[2]);
      pixel.forEach((color, c) => { pixel[c] = grey + (color - grey) * (value / top); });
    });
    screen.context.putImageData(image, 0, 0);
  }

  // Laps on one track from above, and what V keeps of what the chosen one sees.
  function race(root, world, facts) {
    const arrays = awmWorld.unpack(facts);
    const laps = facts.laps.map((lap, n) => ({
      ...lap,
      ...Object.fromEntries(["path", "codes", "earned"].map((name) => [name, arrays[`lap${n}.${name}`]])),
      ...Object.fromEntries(["circle", "polyline", "output", "input"].map((tag) => [tag, root.querySelectorAll(`${tag}[data-lap]`)[n]])),
    }));
    const view = screens(root).kept;
    const count = Math.max(...laps.map((lap) => lap.earned.count));
    // At first past the start, where the camera comes close.
    const { clock, show } = scrubbed(root, count, 100, (t) => {
      for (const { steps, path, codes, earned, circle, polyline, output, input } of laps) {
        const last = earned.count - 1;
        const at = Math.min(t, last);
        const place = (i) => [path.row(i)[0], -path.row(i)[1]];
        const [x, y] = place(at);
        circle.setAttribute("cx", x);
        circle.setAttribute("cy", y);
        circle.classList.toggle("chosen", input.checked);
        const from = Math.max(0, at - 60);
        polyline.setAttribute("points", Array.from({ length: at - from + 1 }, (_, i) => place(from + i)).join(" "));
        output.value = fixed(earned[at]) + (t >= last ? ` after ${steps} steps` : "");
        if (input.checked) view.draw(world.decode(codes.row(at)));
      }
      root.querySelector(".status").textContent = `${fixed((t * facts.every) / 50, 1)} s`;
    });
    laps.forEach(({ input }) => input.addEventListener("change", show));
    // A point of a figure was chosen; its text begins with an agent's name.
    addEventListener("awm-point", ({ detail }) => {
      const lap = laps.find(({ label }) => detail.startsWith(`${label}, `));
      if (lap) { lap.input.checked = true; show(); }
    });
    show();
    clock.set(!still);
  }

  // One beginning and the same actions, dreamt at two temperatures.
  function temperature(root, world) {
    const sides = [...root.querySelectorAll(".screen")].map((side) => ({
      screen: new Screen(side.querySelector("canvas")),
      slider: side.querySelector("[type=range]"),
      output: side.querySelector("output"),
    }));
    let [start, steps, seed] = [0, 0, 1];

    function begin() {
      steps = 0;
      for (const side of sides) {
        side.dream = new awmWorld.Dream(world, world.models[0].name, start);
        side.draw = awmWorld.chance(seed, world.z);
        side.screen.draw(world.decode(side.dream.z));
        side.output.value = `τ = ${Number(side.slider.value).toFixed(2)}`;
      }
    }

    const clock = new Clock(root, () => {
      const actions = world.arrays[`start${start}.actions`];
      if (steps >= actions.count) {
        start = (start + 1) % (world.starts.length - 1 || 1);
        seed += 1;
        return begin();
      }
      for (const { screen, slider, dream, draw } of sides) {
        dream.step(actions.row(steps), Number(slider.value), draw());
        screen.draw(world.decode(dream.z));
      }
      steps += 1;
      root.querySelector(".status").textContent = `${fixed(steps / 50, 1)} s on its own, from ${world.starts[start].label}`;
    });
    root.addEventListener("input", begin);
    begin();
    clock.set(!still);
  }

  // Each comes to life when it is first near the window; a lap and a race have data of their own.
  const lives = { hero, latents, lap, race, temperature };
  let world = null;
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      target.querySelectorAll("[hidden].alive").forEach((part) => { part.hidden = false; });
      world ||= new awmWorld.World(find("world"));
      const { demo } = target.dataset;
      lives[demo](target, world, ["lap", "race"].includes(demo) && find(demo));
    }
  }, { rootMargin: "200px" });
  within.querySelectorAll("[data-demo]").forEach((root) => near.observe(root));
}
