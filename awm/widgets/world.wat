;; A transposed convolution of stride 2 with SIMD: the one hot loop of a dream in the browser, five
;; times as fast as in JavaScript. world.js holds it assembled.
(module
  (memory (export "memory") 1)
  ;; x [size, size, inner] → out [wide, wide, outer], with wide = 2 size + kernel − 2, to which the
  ;; products are added: it holds the biases. weight [inner, kernel, kernel, outer] lies so that
  ;; what an input adds to a row of `out` is one piece in both. `outer` is a multiple of four.
  ;; Addresses are in bytes. Inputs that the layer before has cut to zero, half of them, are skipped.
  (func (export "deconvolve")
    (param $x i32) (param $size i32) (param $inner i32)
    (param $weight i32) (param $kernel i32) (param $outer i32) (param $out i32)
    (local $row i32) (local $column i32) (local $channel i32)
    (local $run i32) (local $stride i32) (local $value f32) (local $values v128)
    (local $corner i32) (local $line i32) (local $to i32) (local $end i32)
    (local $w i32) (local $next i32)
    ;; Bytes of a row of a kernel, and of a row of `out`.
    (local.set $run (i32.shl (i32.mul (local.get $kernel) (local.get $outer)) (i32.const 2)))
    (local.set $stride (i32.shl
      (i32.mul (local.get $outer) (i32.sub
        (i32.add (i32.shl (local.get $size) (i32.const 1)) (local.get $kernel)) (i32.const 2)))
      (i32.const 2)))
    (loop $rows
      (local.set $column (i32.const 0))
      (loop $columns
        (local.set $corner (i32.add (local.get $out) (i32.add
          (i32.shl (i32.mul (local.get $row) (local.get $stride)) (i32.const 1))
          (i32.shl (i32.mul (local.get $column) (local.get $outer)) (i32.const 3)))))
        (local.set $channel (i32.const 0))
        (local.set $w (local.get $weight))
        (loop $channels
          (local.set $value (f32.load (local.get $x)))
          (local.set $next (i32.add (local.get $w) (i32.mul (local.get $kernel) (local.get $run))))
          (if (f32.ne (local.get $value) (f32.const 0))
            (then
              (local.set $values (f32x4.splat (local.get $value)))
              (local.set $line (local.get $corner))
              (loop $lines
                (local.set $to (local.get $line))
                (local.set $end (i32.add (local.get $to) (local.get $run)))
                (loop $fours
                  (v128.store (local.get $to) (f32x4.add (v128.load (local.get $to))
                    (f32x4.mul (local.get $values) (v128.load (local.get $w)))))
                  (local.set $w (i32.add (local.get $w) (i32.const 16)))
                  (br_if $fours (i32.lt_u
                    (local.tee $to (i32.add (local.get $to) (i32.const 16))) (local.get $end))))
                (local.set $line (i32.add (local.get $line) (local.get $stride)))
                (br_if $lines (i32.lt_u (local.get $w) (local.get $next))))))
          (local.set $w (local.get $next))
          (local.set $x (i32.add (local.get $x) (i32.const 4)))
          (br_if $channels (i32.lt_u
            (local.tee $channel (i32.add (local.get $channel) (i32.const 1))) (local.get $inner))))
        (br_if $columns (i32.lt_u
          (local.tee $column (i32.add (local.get $column) (i32.const 1))) (local.get $size))))
      (br_if $rows (i32.lt_u
        (local.tee $row (i32.add (local.get $row) (i32.const 1))) (local.get $size))))))
