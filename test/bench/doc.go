// Command bench measures canary-verify against what it replaces and against the
// floor, and writes docs/performance.md:
//
//	go run ./test/bench                    everything, a few minutes
//	go run ./test/bench -parts smoke,size  only these; the others keep their last result
//	go run ./test/bench -short             each part once, briefly, writing nothing: they work
//
// Contenders run in turn within one run, so that what a busy machine does to
// one it does to the other; what counts are ratios of medians and how far the
// rounds scatter. Absolute times are for orientation. Nothing here fails because
// of a time.
//
// It needs Go, bash and curl; crane and regctl are built from the module proxy,
// skopeo is used where it is installed. All servers are simulated, bind to
// loopback and run in a process of their own, so that what is measured of the
// gate is the gate's alone.
package main
