"use strict";
// A dream in the browser, on plain arrays: V's decoder, M and C as in awm/vae.py, awm/mdn_rnn.py,
// awm/attention.py and awm/controller.py, with the weights that awm/live_dream.py has prepared.
const awmDream = (() => {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  // Named float16 arrays from base64. A half's bits in the place of a float's read as a number
  // 2^112 times too small, whatever its exponent.
  function unpack({ arrays, data }) {
    const bytes = atob(data);
    const bits = new Uint32Array(1);
    const value = new Float32Array(bits.buffer);
    const found = {};
    let at = 0;
    for (const [name, shape] of arrays) {
      const out = new Float32Array(shape.reduce((a, b) => a * b, 1));
      for (let i = 0; i < out.length; i++, at += 2) {
        const half = bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8);
        bits[0] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
        out[i] = value[0] * 2 ** 112;
      }
      found[name] = out;
    }
    return found;
  }

  function load(bundle) {
    const arrays = unpack(bundle);
    const shapes = new Map(bundle.arrays);
    const layers = [0, 1, 2, 3].map((n) => ({
      weight: arrays[`v${n}.weight`],
      bias: arrays[`v${n}.bias`],
      kernel: shapes.get(`v${n}.weight`)[1],
      outer: shapes.get(`v${n}.weight`)[3],
    }));
    return { ...bundle, data: null, arrays, layers };
  }

  // weight [out, in] · x + bias, if there is one.
  function linear(weight, bias, x) {
    const inner = x.length;
    const out = new Float32Array(weight.length / inner);
    for (let row = 0, at = 0; row < out.length; row++) {
      let sum = bias ? bias[row] : 0;
      for (let i = 0; i < inner; i++) sum += weight[at++] * x[i];
      out[row] = sum;
    }
    return out;
  }

  // A transposed convolution of stride 2: x [size, size, in] → [2 size + kernel − 2, …, out].
  // What an input adds to a row of the output lies in one piece in `weight` [in, kernel, kernel,
  // out] and in `out`. Inputs that the layer before has cut to zero, most of them, add nothing; the
  // others are added four at a time, which reads and writes `out` less: twice as fast.
  function deconvolve({ weight, bias, kernel, outer }, x, size) {
    const inner = x.length / (size * size);
    const wide = 2 * size + kernel - 2;
    const run = kernel * outer;
    const out = new Float32Array(wide * wide * outer);
    for (let i = 0; i < out.length; i += bias.length) out.set(bias, i);
    const values = new Float32Array(inner + 3);
    const from = new Int32Array(inner + 3);
    for (let place = 0; place < size * size; place++) {
      let count = 0;
      for (let i = 0; i < inner; i++) {
        if (x[place * inner + i] === 0) continue;
        values[count] = x[place * inner + i];
        from[count++] = i * kernel * run;
      }
      for (; count % 4; count++) values[count] = 0;
      const corner = (2 * Math.floor(place / size) * wide + 2 * (place % size)) * outer;
      for (let n = 0; n < count; n += 4) {
        const [a, b, c, d] = values.subarray(n, n + 4);
        let [wa, wb, wc, wd] = from.subarray(n, n + 4);
        for (let row = 0; row < kernel; row++) {
          const to = corner + row * wide * outer;
          for (let j = 0; j < run; j++) {
            out[to + j] += a * weight[wa + j] + b * weight[wb + j] + c * weight[wc + j] + d * weight[wd + j];
          }
          wa += run; wb += run; wc += run; wd += run;
        }
      }
    }
    return out;
  }

  // V's picture of z: [64, 64, 3] in [0, 1].
  function decode(world, z) {
    let x = z;
    let size = 1;
    world.layers.forEach((layer, n) => {
      x = deconvolve(layer, x, size);
      size = 2 * size + layer.kernel - 2;
      const last = n === world.layers.length - 1;
      for (let i = 0; i < x.length; i++) x[i] = last ? sigmoid(x[i]) : Math.max(0, x[i]);
    });
    return x;
  }

  // Additive attention over items [key, value]: the context, and the weights.
  function attend(items, query, score) {
    const width = score.length;
    const weights = items.map((item) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += score[i] * Math.tanh(item[i] + query[i]);
      return sum;
    });
    softmax(weights);
    const context = new Float32Array(width);
    items.forEach((item, n) => {
      for (let i = 0; i < width; i++) context[i] += weights[n] * item[width + i];
    });
    return { context, weights };
  }

  function softmax(x) {
    let top = -Infinity;
    for (const value of x) top = Math.max(top, value);
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] = Math.exp(x[i] - top);
    for (let i = 0; i < x.length; i++) x[i] /= sum;
  }

  class Dream {
    constructor(world, model, start) {
      this.world = world;
      this.model = model;
      this.z = world.arrays[`start${start}.z`];
      const real = (name) => world.arrays[`start${start}.${model}.${name}`];
      this.h = real("h");
      this.c = real("c").slice();
      this.past = [];
      const past = real("past") || [];
      const width = 2 * (this.array("score") || []).length;
      for (let i = 0; i < past.length; i += width) this.past.push(past.slice(i, i + width));
      this.weights = null;
    }

    array(name) {
      return this.world.arrays[`${this.model}.${name}`];
    }

    // What M can attend to: the entries of [z, a], or its own past.
    items(entries) {
      const direction = this.array("items.direction");
      if (!direction) return this.past;
      const name = this.array("items.name");
      const width = name.length / entries.length;
      return Array.from(entries, (entry, n) => {
        const item = new Float32Array(width);
        for (let i = 0; i < width; i++) item[i] = entry * direction[n * width + i] + name[n * width + i];
        return item;
      });
    }

    // An action [steer, gas, brake], and randomness: `choice` [1 + z] uniform, `normal` [z].
    // Returns the reward that M expects, the chance that the episode ends here, and whether it does.
    step(action, temperature, { choice, normal }) {
      const { hidden, memory } = this.world;
      let entries = Float32Array.of(...this.z, ...action);
      const score = this.array("score");
      if (score) {
        const query = linear(this.array("query.weight"), null, this.h);
        const { context, weights } = attend(this.items(entries), query, score);
        entries = Float32Array.of(...entries, ...context);
        this.weights = weights;
      }
      const inputs = new Float32Array(entries.length + hidden);
      inputs.set(entries);
      inputs.set(this.h, entries.length);
      const gates = linear(this.array("gates.weight"), this.array("gates.bias"), inputs);
      this.h = new Float32Array(hidden);
      for (let i = 0; i < hidden; i++) {
        const fresh = sigmoid(gates[i]) * Math.tanh(gates[2 * hidden + i]);
        this.c[i] = sigmoid(gates[hidden + i]) * this.c[i] + fresh;
        this.h[i] = sigmoid(gates[3 * hidden + i]) * Math.tanh(this.c[i]);
      }
      if (this.array("items.weight")) {
        this.past.push(linear(this.array("items.weight"), this.array("items.bias"), this.h));
        if (this.past.length > memory) this.past.shift();
      }
      const out = linear(this.array("head.weight"), this.array("head.bias"), this.h);
      this.z = this.pick(out, temperature, choice.subarray(1), normal);
      const chance = sigmoid(out[out.length - 1]);
      return { reward: out[out.length - 2], chance, ended: choice[0] < chance };
    }

    // z' from the mixtures: logits divided by the temperature, variances multiplied by it.
    pick(out, temperature, choice, normal) {
      const { mixtures, z: size } = this.world;
      const z = new Float32Array(size);
      for (let i = 0; i < size; i++) {
        const shares = out.slice(i * mixtures, (i + 1) * mixtures).map((logit) => logit / temperature);
        softmax(shares);
        let k = 0;
        for (let sum = shares[0]; k < mixtures - 1 && sum <= choice[i]; sum += shares[k]) k++;
        const mu = out[(size + i) * mixtures + k];
        const logSigma = Math.min(3, Math.max(-7, out[(2 * size + i) * mixtures + k]));
        z[i] = mu + Math.exp(logSigma) * Math.sqrt(temperature) * normal[i];
      }
      return z;
    }

    // What C does, or null if there is none.
    drive() {
      const weight = this.array("c.weight");
      if (!weight) return null;
      const seen = Float32Array.of(...this.z, ...this.h);
      const [steer, gas, brake] = linear(weight, this.array("c.bias"), seen);
      return [Math.tanh(steer), sigmoid(gas), Math.max(0, Math.tanh(brake))];
    }
  }

  // A source of the randomness of steps: the same for the same seed (mulberry32; Box & Muller).
  function chance(seed, size) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let bits = Math.imul(state ^ (state >>> 15), state | 1);
      bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
      return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return () => ({
      choice: Float32Array.from({ length: size + 1 }, uniform),
      normal: Float32Array.from({ length: size }, normal),
    });
  }

  return { unpack, load, decode, chance, Dream };
})();

// What the reader sees of it. Nothing is unpacked before the first dream begins.
(() => {
  const root = document.getElementById("dream");
  const form = root.querySelector("form");
  const field = form.elements;
  const screen = root.querySelector(".dream-screen");
  const canvas = screen.querySelector("canvas");
  const context = canvas.getContext("2d");
  const picture = context.createImageData(64, 64);
  const held = new Set();
  const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "gas", ArrowDown: "brake" };
  let world = null;
  let dream = null;
  let draw = null; // the next step's randomness
  let state = "waiting"; // "dreaming", "paused" or "over"
  let automatic = false; // C drives
  let action, steps, total, due, clock;

  const say = (text) => { root.querySelector(".dream-status").textContent = text; };
  const fixed = (number, digits) => number.toFixed(digits).replace("-", "−");
  const chosen = () => form.querySelector("[name=model]:checked");

  function become(next, text) {
    state = next;
    say(text);
    held.clear();
    field.begin.textContent = { waiting: "Dream", dreaming: "Pause", paused: "Go on", over: "Dream again" }[state];
  }

  // Back to the real frame at which the dream begins; an ongoing dream goes on from there.
  function reset() {
    const going = state === "dreaming";
    const frame = form.querySelector("[name=start]:checked + img");
    frame.decode().then(() => { if (!steps) context.drawImage(frame, 0, 0); }).catch(() => {});
    dream = null;
    action = [0, 0, 0];
    steps = total = 0;
    const { controller } = chosen().dataset;
    field.driver.disabled = !controller;
    field.driver.title = controller ? `C: ${controller}` : "No controller has been evolved for this M";
    if (!controller) drive(false);
    show(null);
    field.rate.value = "–";
    become("waiting", `A real frame: ${frame.alt}.`);
    if (going) begin();
  }

  function begin() {
    if (!world) world = awmDream.load(JSON.parse(root.querySelector(".dream-data").textContent));
    if (!dream) {
      dream = new awmDream.Dream(world, chosen().value, form.querySelector("[name=start]:checked").value);
      draw = awmDream.chance(Number(field.seed.value), world.z);
    }
    become("dreaming", automatic ? "Dreaming; C drives." : "Dreaming; you drive.");
    due = clock = performance.now();
    requestAnimationFrame(tick);
  }

  function toggle() {
    if (state === "dreaming") return become("paused", "Paused.");
    if (state === "over") reset();
    begin();
  }

  function drive(byC) {
    automatic = byC;
    field.driver.setAttribute("aria-pressed", String(automatic));
    if (state === "dreaming") say(automatic ? "Dreaming; C drives." : "Dreaming; you drive.");
  }

  function tick(now) {
    if (state !== "dreaming") return;
    requestAnimationFrame(tick);
    if (now < due) return;
    const interval = 1000 / field.pace.value;
    due = Math.max(due + interval, now);
    advance();
    if (steps % 20 === 0) {
      field.rate.value = (20000 / (now - clock)).toFixed(0);
      clock = now;
    }
  }

  // The keys turn the wheel over a few steps; they are on or off, and M has seen few such jerks.
  function human() {
    const aim = held.has("right") - held.has("left");
    const steer = action[0] + Math.max(-0.25, Math.min(0.25, aim - action[0]));
    return [steer, held.has("gas") ? 1 : 0, held.has("brake") ? 0.8 : 0];
  }

  function advance() {
    action = automatic ? dream.drive() : human();
    const now = dream.step(action, Number(field.temperature.value), draw());
    steps += 1;
    total += now.reward;
    awmDream.decode(world, dream.z).forEach((value, i) => {
      picture.data[i + Math.floor(i / 3)] = 255 * value;
    });
    for (let i = 3; i < picture.data.length; i += 4) picture.data[i] = 255;
    context.putImageData(picture, 0, 0);
    show(now);
    if (now.ended) {
      become("over", `M ended the episode at step ${steps}, with a return of ${fixed(total, 0)}.`);
    }
  }

  function show(now) {
    field.step.value = steps;
    field.reward.value = now ? fixed(now.reward, 2) : "–";
    field.return.value = fixed(total, 1);
    field.chance.value = now ? `${fixed(100 * now.chance, 2)} %` : "–";
    root.querySelectorAll(".dream-bar").forEach((bar, i) => bar.style.setProperty("--share", action[i]));
    ["steer", "gas", "brake"].forEach((name, i) => { field[name].value = fixed(action[i], 2); });
    showAttention(dream && dream.weights);
  }

  function showAttention(weights) {
    const box = root.querySelector(".dream-attention");
    const kind = chosen().value;
    box.hidden = kind === "plain";
    if (box.hidden) return;
    box.querySelector("p").textContent = kind === "temporal"
      ? "What M attends to: its last 32 states, the latest at the right."
      : "What M attends to: the latents z, and at the right steering, gas and brake.";
    const bars = box.querySelector("canvas");
    const pen = bars.getContext("2d");
    pen.clearRect(0, 0, bars.width, bars.height);
    if (!weights) return;
    pen.fillStyle = getComputedStyle(root).getPropertyValue("--accent");
    const count = kind === "temporal" ? world.memory : weights.length;
    const width = bars.width / count;
    const top = Math.max(...weights);
    weights.forEach((weight, i) => {
      const height = bars.height * weight / top;
      pen.fillRect((count - weights.length + i) * width, bars.height - height, width - 1, height);
    });
  }

  function hold(name) {
    held.add(name);
    if (automatic) drive(false); // a hand on the wheel takes it back
  }

  field.begin.addEventListener("click", toggle);
  field.reset.addEventListener("click", reset);
  field.driver.addEventListener("click", () => drive(!automatic));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (["start", "model", "seed"].includes(target.name)) reset();
    canvas.classList.toggle("smooth", field.smooth.checked);
    field.heat.value = Number(field.temperature.value).toFixed(2);
  });

  // Keys belong to the dream while its screen or one of its buttons has the focus, and else to the
  // page and to the control that has it. A pointer leaves the focus on the screen.
  form.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const press = event.key === " " || event.key === "Enter";
    const name = keys[event.key] || (press && event.target.dataset.hold);
    if (name) hold(name);
    else if (press && event.target === screen) { if (!event.repeat) toggle(); }
    else if (event.key === "r") reset();
    else return;
    event.preventDefault();
  });
  form.addEventListener("keyup", (event) => {
    held.delete(keys[event.key] || event.target.dataset.hold);
  });
  form.addEventListener("focusout", () => held.clear());
  form.addEventListener("pointerup", ({ target }) => {
    if (target.closest("label:has(select, [type=number])")) return;
    if (target.closest("label, button")) setTimeout(() => screen.focus({ preventScroll: true }));
  });
  root.querySelectorAll("[data-hold]").forEach((button) => {
    const release = () => held.delete(button.dataset.hold);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      hold(button.dataset.hold);
    });
    button.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
    button.addEventListener("lostpointercapture", release);
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  });

  // Nobody looks at a dream that has been scrolled away.
  new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting && state === "dreaming") toggle();
  }).observe(screen);

  form.hidden = false;
  form.dispatchEvent(new Event("input"));
  reset();
})();
