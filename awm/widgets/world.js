// A world model in the browser: V's decoder, M and C as in awm/models, with the weights that
// awm/widgets/world.py has packed. The report's page and the notebooks' widget run this one file.
const awmWorld = (() => {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  // world.wat, assembled.
  const ASSEMBLED =
    "AGFzbQEAAAABCwFgB39/f39/f38AAwIBAAUDAQABBxcCBm1lbW9yeQIACmRlY29udm9sdmUAAAr2AQHzAQQFfwF9AX" +
    "sGfyAEIAVsQQJ0IQogBSABQQF0IARqQQJrbEECdCELA0BBACEIA0AgBiAHIAtsQQF0IAggBWxBA3RqaiEOQQAhCSAD" +
    "IRIDQCAAKgIAIQwgEiAEIApsaiETIAxDAAAAAFwEQCAM/RMhDSAOIQ8DQCAPIRAgECAKaiERA0AgECAQ/QAEACANIB" +
    "L9AAQA/eYB/eQB/QsEACASQRBqIRIgEEEQaiIQIBFJDQALIA8gC2ohDyASIBNJDQALCyATIRIgAEEEaiEAIAlBAWoi" +
    "CSACSQ0ACyAIQQFqIgggAUkNAAsgB0EBaiIHIAFJDQALCwC1AQRuYW1lAoEBAQAUAAF4AQRzaXplAgVpbm5lcgMGd2" +
    "VpZ2h0BAZrZXJuZWwFBW91dGVyBgNvdXQHA3JvdwgGY29sdW1uCQdjaGFubmVsCgNydW4LBnN0cmlkZQwFdmFsdWUN" +
    "BnZhbHVlcw4GY29ybmVyDwRsaW5lEAJ0bxEDZW5kEgF3EwRuZXh0AyoBAAUABHJvd3MBB2NvbHVtbnMCCGNoYW5uZW" +
    "xzBAVsaW5lcwUFZm91cnM=";

  // Named float16 arrays from base64, with their rows. A half's bits in the place of a float's read as
  // a number 2^112 times too small, whatever its exponent.
  function unpack({ arrays, data }) {
    const bytes = atob(data);
    const bits = new Uint32Array(1);
    const value = new Float32Array(bits.buffer);
    const found = {};
    let at = 0;
    for (const [name, shape] of arrays) {
      const [count, width] = [shape[0], shape.slice(1).reduce((a, b) => a * b, 1)];
      const out = new Float32Array(count * width);
      for (let i = 0; i < out.length; i++, at += 2) {
        const half = bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8);
        bits[0] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13);
        out[i] = value[0] * 2 ** 112;
      }
      const row = (n) => out.subarray(n * width, (n + 1) * width);
      found[name] = Object.assign(out, { shape, count, row });
    }
    return found;
  }

  // The bundle of world.py, unpacked, and V's decoder: transposed convolutions of stride 2.
  class World {
    constructor(bundle) {
      Object.assign(this, bundle, { data: null, arrays: unpack(bundle) });
      const code = Uint8Array.from(atob(ASSEMBLED), (character) => character.charCodeAt(0));
      const { memory, deconvolve } = new WebAssembly.Instance(new WebAssembly.Module(code)).exports;
      this.deconvolve = deconvolve;
      let end = this.z; // z lies first
      const place = (length) => (end += length) - length;
      let size = 1;
      this.layers = [0, 1, 2, 3].map((n) => {
        const [weight, bias] = ["weight", "bias"].map((name) => this.arrays[`v${n}.${name}`]);
        const [inner, kernel, , outer] = weight.shape;
        const from = size;
        size = 2 * size + kernel - 2;
        const length = size * size * outer;
        return { from, inner, kernel, outer, weight, bias, length, at: place(weight.length), out: place(length) };
      });
      memory.grow(Math.ceil(end / 16384));
      this.floats = new Float32Array(memory.buffer);
      for (const { weight, at } of this.layers) this.floats.set(weight, at);
    }

    // z → picture [64, 64, 3] in [0, 1]. It has four channels until here, for vectors of four.
    decode(z) {
      const { floats, layers } = this;
      floats.set(z);
      let x = 0;
      for (const layer of layers) {
        const { from, inner, kernel, outer, bias, length, at, out: end } = layer;
        const out = floats.subarray(end, end + length);
        for (let i = 0; i < length; i += bias.length) out.set(bias, i);
        this.deconvolve(4 * x, from, inner, 4 * at, kernel, outer, 4 * end);
        x = end;
        if (layer === layers.at(-1)) break;
        for (let i = 0; i < length; i++) if (out[i] < 0) out[i] = 0;
      }
      return new Float32Array(3 * 64 * 64).map((_, i) => sigmoid(floats[x + i + Math.floor(i / 3)]));
    }
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

  function softmax(x) {
    const top = Math.max(...x);
    const shares = x.map((value) => Math.exp(value - top));
    const sum = shares.reduce((a, b) => a + b, 0);
    return shares.map((share) => share / sum);
  }

  class Dream {
    constructor(world, model, start) {
      const real = (name) => world.arrays[`start${start}.${model}.${name}`];
      const past = real("past");
      Object.assign(this, { world, model, h: real("h"), c: real("c").slice(), weights: null });
      this.z = world.arrays[`start${start}.codes`].row(0);
      this.past = past ? Array.from({ length: past.count }, (_, n) => past.row(n)) : [];
    }

    array(name) {
      return this.world.arrays[`${this.model}.${name}`];
    }

    // Additive attention over the entries of [z, a], or over M's own past: the context, and the
    // weights. An item is its key and its value.
    attend(entries) {
      const [direction, name, score] = ["items.direction", "items.name", "score"].map((n) => this.array(n));
      const query = linear(this.array("query.weight"), null, this.h);
      const items = !direction ? this.past : Array.from(entries, (entry, n) =>
        name.row(n).map((known, i) => known + entry * direction.row(n)[i]));
      const weights = softmax(items.map((item) =>
        score.reduce((sum, share, i) => sum + share * Math.tanh(item[i] + query[i]), 0)));
      const context = score.map((_, i) =>
        items.reduce((sum, item, n) => sum + weights[n] * item[score.length + i], 0));
      return { context, weights };
    }

    // An action [steer, gas, brake], and randomness: `choice` [1 + z] uniform, `normal` [z].
    // Returns the reward that M expects, the chance that the episode ends here, and whether it does.
    step(action, temperature, { choice, normal }) {
      const { hidden, memory } = this.world;
      let entries = Float32Array.of(...this.z, ...action);
      if (this.array("score")) {
        const { context, weights } = this.attend(entries);
        entries = Float32Array.of(...entries, ...context);
        this.weights = weights;
      }
      const inputs = Float32Array.of(...entries, ...this.h);
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
      const chance = sigmoid(out.at(-1));
      return { reward: out.at(-2), chance, ended: choice[0] < chance };
    }

    // z' from the mixtures: logits divided by the temperature, variances multiplied by it.
    pick(out, temperature, choice, normal) {
      const { mixtures, z: size } = this.world;
      return normal.map((noise, i) => {
        const logits = out.subarray(i * mixtures, (i + 1) * mixtures);
        const shares = softmax(logits.map((logit) => logit / temperature));
        let k = 0;
        for (let sum = shares[0]; k < mixtures - 1 && sum <= choice[i]; sum += shares[k]) k++;
        const mu = out[(size + i) * mixtures + k];
        const logSigma = Math.min(3, Math.max(-7, out[(2 * size + i) * mixtures + k]));
        return mu + Math.exp(logSigma) * Math.sqrt(temperature) * noise;
      });
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

  return { unpack, World, Dream, chance };
})();
