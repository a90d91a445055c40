// Package smoke says what is asserted of a tenant, and asserts it.
//
// It takes a suite, a YAML file in which a check is one readable line, and
// gives back a compiled [Suite] whose every expectation is type-checked and has
// been proven able to fail; run against the sessions of package fleet it gives
// one [TenantResult] a tenant that says what held, what broke and how to see it
// again by hand. It needs no registry and no runner.
package smoke
