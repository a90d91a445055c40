// Package smoke says what is expected of a tenant, and checks it.
//
// It takes a suite, a YAML file in which a check is one readable line, and
// gives back a compiled [Suite] whose every expectation is type-checked and was
// tried on answers on which it must fail. Run on the sessions of package fleet it
// gives one [report.Tenant] each, which says what passed, what did not, and how to
// see that again by hand. It needs no registry and no runner.
//
// # Suites
//
//	strict: true
//	checks:
//	  - {name: workspaces, get: /workspaces, expect: 'status == 200 && is_array(json)'}
//	  - name: memory round-trip
//	    steps:
//	      - post: /memories/commit
//	        body: {scope: LOCAL, content: 'probe ${probe}'}
//	        expect: status < 300 && len(json.id) > 0
//	        save: {id: json.id}
//	      - {get: '/memories/search?query=${probe}', expect: 'status == 200 && any(json, .id == id)', within: 5s}
//	    finally:
//	      - {delete: '/memories/${id}'}
//
// A check is one request, or has steps, which are sent in order until one
// fails. A request is a method (get, head, post, put, patch, delete) with a path
// below the tenant's URL; headers; a body, which is sent as JSON when it is a
// mapping or a list and as it is when it is text; auth (admin, the default, none
// or wrong); org (own, the default, none or wrong: a check that asks so is skipped on
// a tenant without an org id); idempotent: true where a post or patch may be sent
// again.
//
// within repeats a request, with growing pauses, until its expectation is met.
// save keeps values, given as expressions, for the steps after it; the step fails
// where a value is absent or empty. finally cleans up: all its steps are sent
// whatever happened before, also for a moment after the run was stopped, in which
// the answer of a step that saves something is still waited for, except those that
// need a value which was never saved. What goes wrong there is noted
// in the Detail of the result; the check fails by it only where the step has an
// expect of its own.
//
// A placeholder is ${probe} (16 random lower-case letters, new at each execution
// of a check), ${sha}, ${tenant} or a saved value, in paths, header values and
// bodies. It is escaped for its place. A text in a JSON body that is one
// placeholder and nothing else becomes the saved value itself, a number with all
// its digits; $${ stands for the text ${.
//
// sweep: {list, where, age, delete} removes what a run that was killed left: beside
// the checks it deletes at most 50 elements of the list whose name begins with the
// checks' own prefix and which are older than an hour by the tenant's clock.
//
// # Outages
//
// A 5xx may be the build's failure, or the tenant's database may be down. So the
// request is sent again after a short pause (a post or patch only where it is
// idempotent), and confirm: {get, down} is asked beside it. Where the tenant reports
// its outage anywhere in the run, its 5xx answers are errors; where it does not and
// the 5xx comes again, the check fails. What passes the second time is flaky. Any
// other answer that does not meet its expectation fails the check at once; one of
// which more is needed than is read is an error.
//
// # Expectations
//
// An expectation is an expression of expr-lang over status, header (names in
// lower case), body, json, elapsed (milliseconds), probe, sha, tenant and saved
// values. It has the operators == != < <= > >= && || ! and or not in contains
// startsWith endsWith, the functions is_map is_array len lower upper trim, the
// list functions all any none map filter, and nothing else: no arithmetic,
// ranges, conditions or regular expressions.
//
// json has a value only when the answer says that it is JSON, is complete and
// parses; else the expectation that uses it fails, as it does with every value
// that can't be compared, measured or searched: what can't be decided never
// passes. Numbers are compared by all their digits.
//
// No suite and no answer can hang the program: an expression has at most 256
// parts, predicates nest two deep, a list function visits at most 10,000
// elements, and an evaluation that takes more than 2 million steps is given up.
// On an answer beyond these limits the check is an error, not a failure.
//
// # Negative controls
//
// When a suite is loaded, each expectation is tried on answers of tenants that
// don't work: an HTML page that repeats the request, {}, null, an error with
// status 200, and so on. One that passes on any of them could not tell a dead
// tenant from a live one. That is a warning, with strict: true an error. A suite no
// check of which can is refused.
package smoke
