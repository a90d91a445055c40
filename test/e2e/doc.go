// Package e2e runs the gate as its users do: the image that a Docker engine
// builds of the shipped Dockerfile, in the shipped workflows, run by act,
// against Debian's docker-registry and a simulated fleet.
//
// The tests carry the build tag e2e and need what test/e2e/run sets up; run
// that script, not the tests alone.
package e2e
