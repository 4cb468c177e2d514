// Short tones made on the spot; nothing is loaded.

const TONES = {
  bought: [[520, 0, 0.07]],
  won: [
    [660, 0, 0.1],
    [880, 0.1, 0.2],
  ],
  lost: [[294, 0, 0.18]],
  refunded: [[440, 0, 0.12]],
  sold: [[440, 0, 0.12]],
};

let context = null;

/** Play what happened; silent before the first gesture, as browsers want it. */
export function play(name) {
  if (navigator.userActivation && !navigator.userActivation.hasBeenActive) return;
  try {
    context ??= new AudioContext();
    for (const [frequency, delay, length] of TONES[name]) {
      const start = context.currentTime + delay;
      const tone = new OscillatorNode(context, { type: "sine", frequency });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(0.09, start + 0.012);
      gain.gain.exponentialRampToValueAtTime(0.0001, start + length);
      tone.connect(gain).connect(context.destination);
      tone.start(start);
      tone.stop(start + length);
    }
  } catch {
    // A device without sound trades as well.
  }
}
