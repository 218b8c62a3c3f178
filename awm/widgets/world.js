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

  // V's decoder: z → picture [64, 64, 3] in [0, 1], by transposed convolutions of stride 2.
  class Decoder {
    constructor(layers) {
      const code = Uint8Array.from(atob(ASSEMBLED), (character) => character.charCodeAt(0));
      const { memory, deconvolve } = new WebAssembly.Instance(new WebAssembly.Module(code)).exports;
      this.deconvolve = deconvolve;
      let size = 1;
      this.layers = layers.map(({ weight, shape: [inner, kernel, , outer], bias }) => {
        const from = size;
        size = 2 * size + kernel - 2;
        // The last layer's three colours become four channels, for vectors of four.
        return { from, inner, kernel, outer: outer + (-outer & 3), weight: fours(weight, outer),
                 bias: fours(bias, outer), length: size * size * (outer + (-outer & 3)) };
      });
      const floats = layers[0].shape[0]
        + this.layers.reduce((sum, layer) => sum + layer.weight.length + layer.length, 0);
      memory.grow(Math.ceil(floats / 16384));
      this.floats = new Float32Array(memory.buffer);
      let end = 0;
      const place = (length) => (end += length) - length;
      this.z = place(layers[0].shape[0]);
      for (const layer of this.layers) {
        this.floats.set(layer.weight, layer.at = place(layer.weight.length));
        layer.out = place(layer.length);
        layer.weight = null;
      }
    }

    decode(z) {
      const { floats, layers } = this;
      floats.set(z, this.z);
      let x = this.z;
      for (const layer of layers) {
        const out = floats.subarray(layer.out, layer.out + layer.length);
        for (let i = 0; i < out.length; i += layer.bias.length) out.set(layer.bias, i);
        this.deconvolve(4 * x, layer.from, layer.inner, 4 * layer.at, layer.kernel, layer.outer, 4 * layer.out);
        x = layer.out;
        if (layer !== layers.at(-1)) {
          for (let i = 0; i < out.length; i++) if (out[i] < 0) out[i] = 0;
        }
      }
      const picture = new Float32Array(3 * 64 * 64);
      for (let i = 0; i < picture.length; i++) picture[i] = sigmoid(floats[x + i + Math.floor(i / 3)]);
      return picture;
    }
  }

  // [..., outer] with zeros up to a multiple of four.
  function fours(values, outer) {
    const wide = outer + (-outer & 3);
    if (wide === outer) return values;
    const padded = new Float32Array(values.length / outer * wide);
    values.forEach((value, i) => { padded[Math.floor(i / outer) * wide + i % outer] = value; });
    return padded;
  }

  class World {
    constructor(bundle) {
      Object.assign(this, bundle, { data: null, arrays: unpack(bundle) });
      const shapes = new Map(bundle.arrays);
      this.decoder = new Decoder([0, 1, 2, 3].map((n) => ({
        weight: this.arrays[`v${n}.weight`],
        bias: this.arrays[`v${n}.bias`],
        shape: shapes.get(`v${n}.weight`),
      })));
    }

    decode(z) {
      return this.decoder.decode(z);
    }

    // Row `n` of an array whose rows are `width` long.
    row(name, n, width) {
      return this.arrays[name].subarray(n * width, (n + 1) * width);
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
      this.z = world.row(`start${start}.codes`, 0, world.z);
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

  return { unpack, World, Dream, chance };
})();
