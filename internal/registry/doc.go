// Package registry speaks the OCI distribution protocol to one repository, over
// go-containerregistry's authentication.
//
// It takes a parsed [Name] and [Options] and gives a [Repository], whose methods
// read and write manifests and blobs and list what refers to a manifest. A failed
// request is an [*Error] that says what was tried, on what, what came back and
// what to do. It knows nothing of promotions, records or images.
//
// Why not the library's own client: its pusher reads a tag before it writes it,
// which would put a read between the last look at a tag and its move; it reads one
// page of referrers only; the waits between its retries ignore the context; and
// linking its read and write API costs 0.76 MB. What is taken from it is the part
// that is hard: logins, token exchange and names.
//
// Reads are repeated while a failure may pass. Writes go out once, since only the
// caller knows whether to repeat one; [Repository.Store], [Repository.PushBlob]
// and [Repository.Attach] do the same when they are done twice, and are repeated.
package registry
