package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Fault is one way in which a [Tenant] misbehaves. Its text is its name in
// labels and on command lines.
type Fault string

// The faults of a tenant. The table below says what each one does, and where.
const (
	// The connection to the tenant.
	Unreachable Fault = "unreachable"
	Hang        Fault = "hang"
	Slow        Fault = "slow"
	SlowDrip    Fault = "slow-drip"
	CutOff      Fault = "cut-off"
	Redirects   Fault = "redirect"
	Flapping    Fault = "flapping"
	RateLimit   Fault = "rate-limit"
	BadGateway  Fault = "bad-gateway"
	Outage      Fault = "outage"
	ServerError Fault = "server-error"

	// What the real server taught.
	Throttle     Fault = "throttle"
	CrashLoop    Fault = "crash-loop"
	DatabaseDown Fault = "database-down"
	RedisDown    Fault = "redis-down"
	LateAnswers  Fault = "late-answers"

	// Access control.
	FailOpen     Fault = "fail-open"
	WrongBearer  Fault = "wrong-bearer-accepted"
	TokenRefused Fault = "token-refused"
	RouteRefused Fault = "route-refused"
	OrgRefused   Fault = "org-refused"

	GuardOff      Fault = "guard-off"
	AdminOpen     Fault = "admin-auth-open"
	WorkspaceOpen Fault = "workspace-auth-open"

	// The build that it runs.
	Stale          Fault = "stale"
	MidRunRoll     Fault = "mid-run-roll"
	BuildinfoGone  Fault = "buildinfo-gone"
	BuildinfoHTML  Fault = "buildinfo-html"
	BuildinfoEmpty Fault = "buildinfo-empty"

	Alternating        Fault = "alternating-builds"
	HalfOld            Fault = "half-old-build"
	BuildinfoDuplicate Fault = "buildinfo-duplicate-key"
	BuildinfoTrailing  Fault = "buildinfo-trailing-data"
	BuildinfoPlain     Fault = "buildinfo-plain-text"
	BuildinfoLong      Fault = "buildinfo-too-long"

	// Answers that are hostile or broken.
	HTMLEcho         Fault = "html-echo"
	HTMLEchoAll      Fault = "html-echo-all"
	HugeBody         Fault = "huge-body"
	HugeHeader       Fault = "huge-header"
	WrongLength      Fault = "wrong-length"
	WrongType        Fault = "wrong-content-type"
	BrokenJSON       Fault = "broken-json"
	DeepJSON         Fault = "deep-json"
	InvalidUTF8      Fault = "invalid-utf8"
	WorkflowCommands Fault = "workflow-commands"
	TerminalEscapes  Fault = "terminal-escapes"
	Markup           Fault = "markup"
	TokenEcho        Fault = "token-echo"

	// One behaviour each that the smoke suites check.
	HealthFails               Fault = "health-fails"
	LivenessWithoutSubsystems Fault = "liveness-without-subsystems"
	LivenessEmpty             Fault = "liveness-empty"
	LivenessNotMap            Fault = "liveness-not-map"
	WorkspacesNotArray        Fault = "workspaces-not-array"
	EventsNotArray            Fault = "events-not-array"
	CommitFails               Fault = "commit-fails"
	CommitWithoutID           Fault = "commit-without-id"
	MemoryLost                Fault = "memory-lost"
	SearchFails               Fault = "search-fails"
	SearchNotArray            Fault = "search-not-array"
	SearchFindsOther          Fault = "search-finds-other"
	SearchFindsAll            Fault = "search-finds-all"
	SearchLags                Fault = "search-lags"
	DeleteFails               Fault = "delete-fails"
	DeleteLost                Fault = "delete-lost"
	WorkspaceFails            Fault = "workspace-fails"
	WorkspaceWithoutID        Fault = "workspace-without-id"
	WorkspaceDeleteFails      Fault = "workspace-delete-fails"
	WorkspaceDeleteLost       Fault = "workspace-delete-lost"

	SearchIgnoresQuery Fault = "search-ignores-query"
	MemoriesGone       Fault = "memories-gone"
	LargeLists         Fault = "large-lists"
	WorkspacesUndated  Fault = "workspaces-undated"
)

// Params limit a fault. A zero field takes the fault's own default.
type Params struct {
	// Route is where the fault acts: a path and all below it ("/admin"), with a
	// method ("DELETE /memories") for that method alone; "/" is everywhere.
	// A "*" is any element of a path, and a path that ends in "$" is that path
	// alone. Several are separated by commas.
	Route  string
	Count  int           // how many requests, where the fault counts
	Delay  time.Duration // how long, where it waits
	For    time.Duration // how long it lasts, where it ends by itself
	Status int           // with which status, where it answers with one
	Text   string        // its text, where it sends one
}

// otherBuild is the commit of the other build where a fault knows two.
const otherBuild = "0ddba11c0ffee0ddba11c0ffee0ddba11c0ffee0"

// Places where faults act by default.
const (
	everywhere = "/"
	guarded    = "guarded" // all that the org guard guards
)

// A faultSpec is one fault and its defaults.
type faultSpec struct {
	fault    Fault
	defaults Params
}

// Text that hostile tenants send. None of it may reach a log, a summary or a
// terminal as it is.
const (
	commandText  = "\n::error title=pwned::pwned\n  ::set-output name=promoted::true\n##[error]pwned\n::add-mask::a\n::stop-commands::x\n"
	terminalText = "\x1b[2J\x1b[31mpwned\x1b[0m\x07\x1b]0;pwned\x07\x1b]8;;http://pwned.example\x07link\x1b]8;;\x07\u202edenwp\u200b\r\b"
	markupText   = "| a | b |\n|---|---|\n</td></tr></table>\n# pwned\n```\n<script>alert('pwned')</script><img src=x onerror=alert(1)> ![p](http://pwned.example/p.png) [l](javascript:alert(1)) **pwned** @everyone #1"
)

// faultTable is every fault, in the order of [AllFaults].
var faultTable = []faultSpec{
	{Unreachable, Params{Route: everywhere}},                                               // connections are refused; open ones are reset
	{Hang, Params{Route: everywhere}},                                                      // requests are never answered
	{Slow, Params{Route: everywhere, Delay: 2 * time.Second}},                              // each answer comes Delay later
	{SlowDrip, Params{Route: guarded, Delay: 250 * time.Millisecond}},                      // one byte of the answer every Delay, without end
	{CutOff, Params{Route: guarded}},                                                       // the connection is reset instead of an answer
	{Redirects, Params{Route: guarded, Status: 302, Text: "http://127.0.0.1:1/elsewhere"}}, // redirects to Text, another origin
	{Flapping, Params{Route: guarded, Count: 2, Status: 503}},                              // on each route the first Count requests get Status with an empty body, then it works
	{RateLimit, Params{Route: guarded, Count: -1, Delay: time.Second, Status: 429}},        // 429 with Retry-After: Delay for the first Count requests on each route (-1: for all)
	{BadGateway, Params{Route: everywhere, Status: 502}},                                   // a proxy's HTML page with Status 502: nothing runs behind it
	{Outage, Params{Route: guarded, Status: 503}},                                          // Postgres is down: /health is fine, admin routes answer 503 platform_unavailable
	{ServerError, Params{Route: guarded, Status: 500}},                                     // admin routes answer 500 to authorized requests

	{FailOpen, Params{Route: guarded}},       // requests without a bearer token are accepted
	{WrongBearer, Params{Route: guarded}},    // requests with a wrong bearer token are accepted
	{TokenRefused, Params{Route: guarded}},   // the tenant's own token is refused with 401
	{RouteRefused, Params{Route: "/events"}}, // one route alone refuses the tenant's own token with 401
	{OrgRefused, Params{Route: guarded}},     // the org id is not this tenant's: 404 with an empty body

	{Stale, Params{}}, // the auto-updater does nothing
	{MidRunRoll, Params{Count: 5, Text: otherBuild}}, // after Count more requests on Route it runs the commit Text
	{BuildinfoGone, Params{Route: "/buildinfo"}},     // an old build: the route does not exist
	{BuildinfoHTML, Params{Route: "/buildinfo"}},     // an HTML page that says "git_sha" with status 200
	{BuildinfoEmpty, Params{Route: "/buildinfo"}},    // a JSON object without git_sha

	{HTMLEcho, Params{Route: everywhere, Status: 200}},                                                // an HTML page that echoes the URL for every request
	{HTMLEchoAll, Params{Route: everywhere, Status: 200}},                                             // an HTML page that echoes the whole request, headers and token included
	{HugeBody, Params{Route: guarded}},                                                                // a JSON array without end
	{HugeHeader, Params{Route: guarded, Count: 10 << 20}},                                             // a header of Count bytes
	{WrongLength, Params{Route: guarded}},                                                             // a Content-Length that is longer than the body
	{WrongType, Params{Route: guarded, Text: "text/html; charset=utf-8"}},                             // the right JSON under the content type Text
	{BrokenJSON, Params{Route: guarded}},                                                              // a JSON content type over a body that breaks off
	{DeepJSON, Params{Route: guarded, Count: 100_000}},                                                // arrays nested Count deep
	{InvalidUTF8, Params{Route: guarded, Status: 500, Text: "\xff\xfe\xc3\x28\xed\xa0\x80 not text"}}, // an error in bytes that are not UTF-8
	{WorkflowCommands, Params{Route: guarded, Status: 500, Text: commandText}},                        // an error that a runner would take for commands
	{TerminalEscapes, Params{Route: guarded, Status: 500, Text: terminalText}},                        // an error full of terminal escapes
	{Markup, Params{Route: guarded, Status: 500, Text: markupText}},                                   // an error in Markdown and HTML
	{TokenEcho, Params{Route: guarded, Status: 500}},                                                  // an error that quotes the request's Authorization header, plain, in base64 and URL-escaped

	{HealthFails, Params{Route: "GET /health"}},                       // health is 500
	{LivenessWithoutSubsystems, Params{Route: "GET /admin/liveness"}}, // liveness has no subsystems
	{LivenessEmpty, Params{Route: "GET /admin/liveness"}},             // liveness has an empty map of subsystems
	{LivenessNotMap, Params{Route: "GET /admin/liveness"}},            // liveness has a list of subsystems, not a map
	{WorkspacesNotArray, Params{Route: "GET /workspaces"}},            // workspaces are an object, not an array
	{EventsNotArray, Params{Route: "GET /events"}},                    // events are an object, not an array
	{CommitFails, Params{}},                                           // a memory can't be committed: 500
	{CommitWithoutID, Params{}},                                       // a commit is answered without an id, and nothing is stored
	{MemoryLost, Params{}},                                            // a commit is answered as usual, but nothing is stored
	{SearchFails, Params{}},                                           // the search is 500
	{SearchNotArray, Params{}},                                        // the search answers an object, not an array
	{SearchFindsOther, Params{}},                                      // the search finds another memory instead
	{SearchFindsAll, Params{}},                                        // the search finds every memory and one more, whatever is asked
	{SearchLags, Params{Delay: time.Second}},                          // a memory is found only Delay after its commit
	{DeleteFails, Params{}},                                           // a memory can't be deleted: 500
	{DeleteLost, Params{}},                                            // a deletion is answered as usual, but the memory stays
	{WorkspaceFails, Params{}},                                        // a workspace can't be created: 500
	{WorkspaceWithoutID, Params{}},                                    // the creation of a workspace is answered without an id, and none is made
	{WorkspaceDeleteFails, Params{}},                                  // a workspace can't be deleted: 500
	{WorkspaceDeleteLost, Params{}},                                   // a deletion is answered as usual, but the workspace stays

	{Throttle, Params{Route: everywhere, Count: 600, Delay: time.Minute, Status: 429}}, // Count requests in each Delay for each client address: X-RateLimit-Limit, -Remaining, -Reset everywhere, Status with Retry-After beyond it; see Bucket
	{CrashLoop, Params{Delay: 6 * time.Second, For: 500 * time.Millisecond}},           // the process dies every Delay and is started again For later: connections are reset, then refused (not in a Fleet)
	{DatabaseDown, Params{Route: guarded}},                                             // after Count more requests Postgres stops, and is back For later (0: never): 503 platform_unavailable, or a bare 500 from handlers past the auth step; /health is fine
	{RedisDown, Params{}},                                                              // Redis stops: nothing of that shows
	{LateAnswers, Params{Route: guarded, Delay: 50 * time.Millisecond}},                // what was asked is done at once, and answered Delay later

	{GuardOff, Params{Route: guarded}},      // the org guard is gone: nobody needs an org id, and a wrong one will do
	{AdminOpen, Params{Route: guarded}},     // admin routes accept requests without a bearer and with any
	{WorkspaceOpen, Params{Route: guarded}}, // the routes of a workspace accept requests without a bearer and with any

	{Alternating, Params{Route: "/buildinfo", Text: otherBuild}},                                       // every second connection leads to a build of the commit Text
	{HalfOld, Params{Route: "/buildinfo", Text: otherBuild}},                                           // half of the connections, drawn by the seed Count, lead to a build of the commit Text
	{BuildinfoDuplicate, Params{Route: "/buildinfo", Text: otherBuild}},                                // the key git_sha comes twice, first with the commit Text
	{BuildinfoTrailing, Params{Route: "/buildinfo", Text: "\n{\"git_sha\":\"" + otherBuild + "\"}\n"}}, // Text follows the JSON
	{BuildinfoPlain, Params{Route: "/buildinfo", Text: "text/plain; charset=utf-8"}},                   // the right JSON under the content type Text
	{BuildinfoLong, Params{Route: "/buildinfo", Text: "0"}},                                            // the right commit and Text behind it: more digits than a commit has

	{SearchIgnoresQuery, Params{}},                                    // the search lists every memory, whatever is asked
	{MemoriesGone, Params{}},                                          // the documented memory routes don't exist: 404 page not found
	{LargeLists, Params{Route: "GET /workspaces$", Count: 2_200_000}}, // the list of workspaces has at least Count bytes
	{WorkspacesUndated, Params{Route: "GET /workspaces"}},             // the list of workspaces has no created_at
}

// AllFaults returns every fault that a tenant can have.
func AllFaults() []Fault {
	out := make([]Fault, len(faultTable))
	for i, f := range faultTable {
		out[i] = f.fault
	}
	return out
}

// ParseFault returns the fault with the name.
func ParseFault(name string) (Fault, error) {
	if _, ok := Fault(name).spec(); !ok {
		return "", fmt.Errorf("sim: unknown fault %q", name)
	}
	return Fault(name), nil
}

// defaults returns the parameters that the fault has where none are given.
func (f Fault) defaults() Params {
	s, _ := f.spec()
	return s.defaults
}

// spec looks the fault up.
func (f Fault) spec() (faultSpec, bool) {
	i := slices.IndexFunc(faultTable, func(s faultSpec) bool { return s.fault == f })
	if i < 0 {
		return faultSpec{}, false
	}
	return faultTable[i], true
}

// or fills what p leaves open from d.
func (p Params) or(d Params) Params {
	if p.Route == "" {
		p.Route = d.Route
	}
	if p.Count == 0 {
		p.Count = d.Count
	}
	if p.Delay == 0 {
		p.Delay = d.Delay
	}
	if p.For == 0 {
		p.For = d.For
	}
	if p.Status == 0 {
		p.Status = d.Status
	}
	if p.Text == "" {
		p.Text = d.Text
	}
	return p
}

// covers reports whether the fault acts on a request.
func (p Params) covers(method, path string) bool {
	switch p.Route {
	case "", everywhere:
		return true
	case guarded:
		return !exempt(path)
	}
	for route := range strings.SplitSeq(p.Route, ",") {
		m, prefix, ok := strings.Cut(strings.TrimSpace(route), " ")
		if !ok {
			m, prefix = "", strings.TrimSpace(route)
		}
		if (m == "" || m == method) && below(path, prefix) {
			return true
		}
	}
	return false
}

// below reports whether path is prefix or something under it. A "*" in prefix is
// any element, and a "$" at its end excludes what is under it.
func below(path, prefix string) bool {
	prefix, alone := strings.CutSuffix(prefix, "$")
	if alone {
		return fits(prefix, path)
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if !strings.Contains(prefix, "*") {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	elements := strings.Split(path, "/")
	return fits(prefix, strings.Join(elements[:min(len(elements), strings.Count(prefix, "/")+1)], "/"))
}

// joinFaults and splitFaults are the form of [LabelFaults].
func joinFaults(faults []Fault) string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = string(f)
	}
	return strings.Join(names, ",")
}

// splitFaults ignores what is not a fault: a label can contain anything.
func splitFaults(label string) []Fault {
	var out []Fault
	for name := range strings.SplitSeq(label, ",") {
		if f, err := ParseFault(strings.TrimSpace(name)); err == nil {
			out = append(out, f)
		}
	}
	return out
}
