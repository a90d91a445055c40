// Package sim is the world that canary-verify works in, small enough for one
// process: a registry, tenants that follow one of its tags, and whole fleets of
// them. The demo, the tests and the benchmarks play on it over real HTTP.
//
// A [Registry] is go-containerregistry's in-memory registry behind a real
// server on loopback, with authentication, a log of its requests and faults
// for exactly the request that a test names. [Publish] pushes small real
// images to it, or to any other registry.
//
// A [Tenant] answers as the product's own server does. Its faults can be
// switched on and off while it runs; [AllFaults] lists them. With [Follow] it
// polls a tag and runs the build behind it, as the product's auto-updater does:
// the build's labels say which commit it reports and how it misbehaves.
//
// Tenants need no socket where [TenantConfig.InMemory] is set: clients reach them
// through [PipeTransport], in tests whose clock is not real as well.
//
// A [Fleet] is up to ten thousand tenants behind one listener.
//
// All servers listen on 127.0.0.1 alone and are gone, goroutines included, when
// Close returns. Nothing here needs package testing.
package sim
