// Package web is the one way to speak HTTP: how a request is repeated
// ([Client]), how long one waits ([Pause], [Backoff]), which connections are made
// ([Transport], [Proxy], [IsLoopback]), and how much time is left for putting
// things back once a run has ended ([Cleanup]).
//
// It takes a transport and a policy and gives a client of go-retryablehttp, the
// one retry engine, set up so that it logs nothing, follows no redirect and hands
// the last answer over whatever it was. Tenants, forge and registry have their own
// rules of what may be repeated; they state them as a [Policy]. It reads no
// environment.
package web
