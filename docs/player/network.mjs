// dacodec's native engine in WebAssembly: a network of layers over rows, through the interface that native/dacodec.h explains.

const TENSORS = ["weight", "bias", "alpha", "alpha1", "alpha2", "weight2", "bias2"]; // in the order of struct dac_layer
const MATRICES = ["at", "g", "bt"]; // of struct dac_winograd

// The value of every half-precision number.
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const exponent = (bits >> 10) & 31, rest = (bits & 1023) / 1024;
  const value = exponent ? 2 ** (exponent - 15) * (1 + rest) : 2 ** -14 * rest;
  return bits & 0x8000 ? -value : value;
});

export class Network {
  // `file` is what scripts/player/weights.py writes: the length of a head, the head as JSON, the tensors.
  static async load(code, file) {
    const nothing = { clock_time_get: () => 0 }; // teams of threads ask for the time; there are none
    const { instance } = await WebAssembly.instantiate(code, { wasi_snapshot_preview1: nothing });
    return new Network(instance.exports, file);
  }

  constructor(engine, file) {
    this.engine = engine;
    engine._initialize();
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    this.head = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
    const data = file.slice(8 + length).buffer;
    this.vectors = new Float32Array(data, ...this.head.vectors);
    const held = []; // until the engine has made its own copies
    const put = (array) => {
      const place = this.alloc(array.byteLength);
      new Uint8Array(engine.memory.buffer, place).set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      held.push(place);
      return place;
    };
    const tensor = (one) => {
      if (!one) return 0;
      const [kind, at, n] = one;
      return put(kind === "f4" ? new Float32Array(data, at, n) : Float32Array.from(new Uint16Array(data, at, n), (bits) => HALF[bits]));
    };
    const transforms = { none: 0 };
    for (const [name, one] of Object.entries(this.head.winograd)) {
      transforms[name] = put(Int32Array.of(...one.ints, ...MATRICES.map((matrix) => put(new Float64Array(data, ...one[matrix])))));
    }
    const layers = this.head.layers.flatMap((one) => [...one.ints, transforms[one.winograd], ...TENSORS.map((name) => tensor(one.tensors[name]))]);
    this.network = engine.dac_network(put(Int32Array.from(layers)), this.head.layers.length, 1);
    if (!this.network) throw new Error("the model could not be set up");
    held.forEach((place) => engine.dac_release(place));
  }

  alloc(bytes) {
    const place = this.engine.dac_alloc(bytes);
    if (!place) throw new Error("there is too little memory");
    return place;
  }

  // The state of one channel; to be given back with release().
  start() {
    const place = this.alloc(Number(this.engine.dac_state_bytes(this.network)));
    this.engine.dac_state_init(this.network, place);
    return { place, waiting: 0 }; // samples that are to come of the frames pushed
  }

  release(state) {
    this.engine.dac_release(state.place);
  }

  // The audio that `n` frames of codes, [K][n] one after the other, complete; with `isEnd` all that is left.
  push(state, codes, n, isEnd) {
    const { engine } = this;
    const width = this.head.in_width, capacity = state.waiting + n * this.head.hop_length;
    const rows = this.alloc(4 * width * n), out = this.alloc(4 * capacity);
    this.embed(codes, n, new Float32Array(engine.memory.buffer, rows, width * n));
    const made = Number(engine.dac_push(this.network, state.place, rows, BigInt(n), out, BigInt(capacity), isEnd ? 1 : 0, 1));
    const audio = new Float32Array(engine.memory.buffer, out, Math.max(0, made)).slice();
    engine.dac_release(rows);
    engine.dac_release(out);
    if (made < 0) throw new Error("the decoder failed");
    state.waiting = capacity - made;
    return audio;
  }

  // The codebook vectors of codes, side by side; each is followed by a 1, which carries a bias.
  embed(codes, n, rows) {
    const [, size, length] = this.head.shape;
    rows.fill(0);
    for (let i = 0; i < codes.length; i++) {
      const k = Math.floor(i / n), f = i % n, from = (k * size + codes[i]) * length;
      rows.set(this.vectors.subarray(from, from + length), f * this.head.in_width + k * length);
    }
  }
}
