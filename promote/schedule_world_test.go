package promote_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// What a hub of the schedules is called, and what it keeps.
const (
	hubHost     = "registry.test"
	hubTarget   = "latest"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
)

// A hub is a registry in memory for schedules: as small and quick as can be, and as
// bad as registries can be. It runs on the fake clock of a synctest bubble. Every
// request takes a time that depends on the seed and on the request alone, so that a
// seed gives the same interleaving however goroutines run.
type hub struct {
	seed      uint64
	late      time.Duration // within which a write of a tag shows that was answered
	lag       time.Duration // for which a read may show what a tag showed before
	referrers bool          // it has the referrers API

	mu     sync.Mutex
	repos  map[string]*shelf
	labels map[report.Digest]int // the order in which manifests came: the same for a seed
	trace  func(format string, args ...any)
}

// A shelf is one repository.
type shelf struct {
	blobs     map[report.Digest][]byte
	manifests map[report.Digest]stored
	order     []report.Digest // of manifests
	tags      map[string][]version
}

// A stored manifest.
type stored struct {
	mediaType string
	raw       []byte
	subject   report.Digest
	listing   listing
	at        time.Time
}

// A listing is an entry of a list of referrers.
type listing struct {
	MediaType    string            `json:"mediaType"`
	Digest       report.Digest     `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// A version is what a tag shows from a time on; an empty digest: it is absent.
type version struct {
	from   time.Time
	digest report.Digest
}

func newHub(images int) *hub {
	h := &hub{repos: map[string]*shelf{}, labels: map[report.Digest]int{}, referrers: true, trace: func(string, ...any) {}}
	for i := range images {
		h.repos[repoName(i)] = &shelf{blobs: map[report.Digest][]byte{}, manifests: map[report.Digest]stored{}, tags: map[string][]version{}}
	}
	return h
}

func repoName(i int) string { return fmt.Sprint("org/app", i) }

// clone copies a hub at rest.
func (h *hub) clone() *hub {
	c := &hub{referrers: h.referrers, repos: map[string]*shelf{}, labels: maps.Clone(h.labels), trace: h.trace}
	for name, s := range h.repos {
		n := &shelf{maps.Clone(s.blobs), maps.Clone(s.manifests), slices.Clone(s.order), map[string][]version{}}
		for tag, versions := range s.tags {
			n.tags[tag] = []version{{digest: versions[len(versions)-1].digest}}
		}
		for d, m := range n.manifests {
			m.at = time.Time{}
			n.manifests[d] = m
		}
		c.repos[name] = n
	}
	return c
}

func hubDigest(b []byte) report.Digest {
	sum := sha256.Sum256(b)
	return report.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// store keeps a manifest.
func (h *hub) store(s *shelf, mediaType string, raw []byte) (report.Digest, report.Digest) {
	d := hubDigest(raw)
	var content struct {
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
		Subject      struct {
			Digest report.Digest `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(raw, &content); err != nil {
		panic(err)
	}
	if _, known := s.manifests[d]; !known {
		s.order = append(s.order, d)
	}
	s.manifests[d] = stored{mediaType, raw, content.Subject.Digest,
		listing{mediaType, d, len(raw), content.ArtifactType, content.Annotations}, time.Now()}
	if h.labels[d] == 0 {
		h.labels[d] = len(h.labels) + 1
	}
	return d, content.Subject.Digest
}

// point makes a tag show a digest from a time on.
func (s *shelf) point(tag string, from time.Time, d report.Digest) {
	i := len(s.tags[tag])
	for i > 0 && s.tags[tag][i-1].from.After(from) {
		i--
	}
	s.tags[tag] = slices.Insert(s.tags[tag], i, version{from, d})
}

// shows returns what a tag shows at a time, what it showed before, and since when
// it doesn't.
func (s *shelf) shows(tag string, at time.Time) (now, before report.Digest, since time.Time) {
	for _, v := range s.tags[tag] {
		if v.from.After(at) {
			break
		}
		if v.digest != now {
			before, now, since = now, v.digest, v.from
		}
	}
	return now, before, since
}

// at returns what a tag of an image shows now, in truth.
func (h *hub) at(i int, tag string) report.Digest {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, _, _ := h.repos[repoName(i)].shows(tag, time.Now())
	return d
}

// set makes a tag show a digest at once.
func (h *hub) set(i int, tag string, d report.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repos[repoName(i)].point(tag, time.Now(), d)
}

// dice are random numbers of a seed.
type dice uint64

// roll returns a number from 0 to n-1.
func (d *dice) roll(n int) int {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) >> 1 % uint64(n))
}

// chance is true p times in a thousand.
func (d *dice) chance(p int) bool { return d.roll(1000) < p }

// within returns a time from 0 to limit.
func (d *dice) within(limit time.Duration) time.Duration {
	return time.Duration(d.roll(int(limit) + 1))
}

// A line is how one gate reaches the hub.
type line struct {
	*hub
	name   string
	pace   time.Duration // of a request's way, on average
	sleeps int           // how often of a thousand writes the gate's machine is suspended before; of reads, seldom
	killAt int           // in which request it is killed; 0: never
	cancel context.CancelCauseFunc
	putAt  time.Time // when it last wrote the target; guarded by the hub's lock

	mu     sync.Mutex
	nth    map[string]int
	count  int       // of requests
	asleep time.Time // until when the machine is suspended
	dead   bool
}

var errKilled = errors.New("killed")

// RoundTrip implements [http.RoundTripper].
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	if req.URL.Path == "/v2/" {
		return reply(req, http.StatusOK, "", nil), nil
	}
	d := l.draw(req, len(body))
	if err := nap(req.Context(), l.pace/5+d.within(l.pace)); err != nil {
		return nil, err
	}
	if err := l.pass(req, &d, body); err != nil {
		return nil, err
	}
	resp := l.answer(req, body, &d)
	return resp, nap(req.Context(), l.pace/5+d.within(l.pace))
}

// draw returns the dice of a request.
func (l *line) draw(req *http.Request, size int) dice {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := req.URL.Path
	if i := strings.Index(path, "sha256:"); i >= 0 {
		l.hub.mu.Lock()
		path = fmt.Sprint(path[:i], l.labels[report.Digest(path[i:])])
		l.hub.mu.Unlock()
	}
	key := fmt.Sprint(l.name, req.Method, path, size)
	l.nth[key]++
	hash := fnv.New64a()
	fmt.Fprint(hash, l.seed, key, l.nth[key])
	return dice(hash.Sum64())
}

// nap waits, unless the caller doesn't.
func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass lets a request of a gate pass that is alive and awake. The one in which it is
// killed may arrive; nobody learns of it.
func (l *line) pass(req *http.Request, d *dice, body []byte) error {
	for {
		l.mu.Lock()
		if !l.dead && time.Now().Before(l.asleep) {
			wait := time.Until(l.asleep) + d.within(l.pace)
			l.mu.Unlock()
			if err := nap(req.Context(), wait); err != nil {
				return err
			}
			continue
		}
		l.count++
		if l.count == l.killAt {
			l.trace("%s is killed", l.name)
			l.dead = true
			l.cancel(errKilled)
			if d.roll(2) == 0 {
				l.answer(req, body, d)
			}
		}
		dead := l.dead
		sleeps := l.sleeps
		if req.Method != http.MethodPut {
			sleeps /= 10
		}
		if !dead && d.chance(sleeps) {
			l.asleep = time.Now().Add(300*time.Millisecond + d.within(8*time.Second))
			l.trace("%s sleeps for %v", l.name, time.Until(l.asleep))
			l.mu.Unlock()
			continue
		}
		l.mu.Unlock()
		if dead {
			<-req.Context().Done()
			return errKilled
		}
		return nil
	}
}

func (l *line) killed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// answer does what a request asks for.
func (l *line) answer(req *http.Request, body []byte, d *dice) *http.Response {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	name, rest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/manifests/")
	kind := "manifests"
	for _, k := range []string{"blobs", "referrers"} {
		if before, after, found := strings.Cut(name, "/"+k+"/"); found {
			name, kind, rest = before, k, after
		}
	}
	s := l.repos[name]
	if s == nil {
		return absent(req, "NAME_UNKNOWN")
	}
	var resp *http.Response
	switch kind {
	case "manifests":
		resp = l.manifest(req, s, rest, body, d)
	case "blobs":
		resp = blob(req, s, rest, body)
	default:
		resp = l.list(req, s, report.Digest(rest), d)
	}
	l.trace("%s %s %s %s/%s: %d %s", l.name, req.Method, name, kind, l.short(rest), resp.StatusCode,
		l.short(resp.Header.Get("Docker-Content-Digest")))
	return resp
}

// short names a digest for the trace.
func (h *hub) short(reference string) string {
	if n := h.labels[report.Digest(reference)]; n > 0 {
		return fmt.Sprint("#", n)
	}
	return reference
}

func (l *line) manifest(req *http.Request, s *shelf, reference string, body []byte, d *dice) *http.Response {
	byDigest := strings.HasPrefix(reference, "sha256:")
	due := time.Now()
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		digest := report.Digest(reference)
		if !byDigest {
			now, before, since := s.shows(reference, time.Now())
			if digest = now; time.Since(since) < l.lag && d.roll(2) == 0 {
				digest = before
			}
		}
		m, found := s.manifests[digest]
		if !found {
			return absent(req, "MANIFEST_UNKNOWN")
		}
		resp := reply(req, http.StatusOK, m.mediaType, m.raw)
		resp.Header.Set("Docker-Content-Digest", string(digest))
		return resp
	case http.MethodPut:
		digest, subject := l.store(s, req.Header.Get("Content-Type"), body)
		if !byDigest {
			due = due.Add(d.within(l.late))
			s.point(reference, due, digest)
			if reference == hubTarget {
				l.putAt = time.Now()
			}
			l.trace("%s: %s will be %s in %v", l.name, reference, l.short(string(digest)), time.Until(due))
		}
		resp := reply(req, http.StatusCreated, "", nil)
		resp.Header.Set("Docker-Content-Digest", string(digest))
		if subject != "" && l.referrers {
			resp.Header.Set("OCI-Subject", string(subject))
		}
		return resp
	case http.MethodDelete:
		s.point(reference, due.Add(d.within(l.late)), "")
		return reply(req, http.StatusAccepted, "", nil)
	}
	return reply(req, http.StatusMethodNotAllowed, "", nil)
}

func blob(req *http.Request, s *shelf, rest string, body []byte) *http.Response {
	switch content, found := s.blobs[report.Digest(rest)]; {
	case req.Method == http.MethodPost && hubDigest(body) == report.Digest(req.URL.Query().Get("digest")):
		s.blobs[hubDigest(body)] = body
		return reply(req, http.StatusCreated, "", nil)
	case req.Method == http.MethodPost:
		return reply(req, http.StatusBadRequest, "application/json", []byte(`{"errors":[{"code":"DIGEST_INVALID"}]}`))
	case !found:
		return absent(req, "BLOB_UNKNOWN")
	default:
		resp := reply(req, http.StatusOK, "application/octet-stream", content)
		resp.Header.Set("Docker-Content-Digest", rest)
		return resp
	}
}

// list answers for the referrers API. It may lag too.
func (l *line) list(req *http.Request, s *shelf, of report.Digest, d *dice) *http.Response {
	if !l.referrers {
		return absent(req, "NOT_FOUND")
	}
	want, until := req.URL.Query().Get("artifactType"), time.Now()
	if d.roll(2) == 0 {
		until = until.Add(-l.lag)
	}
	resp := reply(req, http.StatusOK, ociIndex, s.index(of, want, until))
	if want != "" {
		resp.Header.Set("OCI-Filters-Applied", "artifactType")
	}
	return resp
}

// index returns the list of what referred to a digest at a time.
func (s *shelf) index(of report.Digest, artifactType string, at time.Time) []byte {
	list := []listing{}
	for _, d := range s.order {
		m, found := s.manifests[d]
		if found && m.subject == of && !m.at.After(at) && (artifactType == "" || artifactType == m.listing.ArtifactType) {
			list = append(list, m.listing)
		}
	}
	raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list})
	if err != nil {
		panic(err)
	}
	return raw
}

func reply(req *http.Request, status int, mediaType string, body []byte) *http.Response {
	resp := &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, ContentLength: int64(len(body)), Request: req,
	}
	if mediaType != "" {
		resp.Header.Set("Content-Type", mediaType)
	}
	if req.Method == http.MethodHead {
		body = nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

func absent(req *http.Request, code string) *http.Response {
	return reply(req, http.StatusNotFound, "application/json", fmt.Appendf(nil, `{"errors":[{"code":%q,"message":"unknown"}]}`, code))
}

// build pushes an image of a commit to every repository and returns its digests. An
// image without a time of creation has no place in the order of commits.
func (h *hub) build(sha report.Commit, created time.Time, tags ...string) []report.Digest {
	var digests []report.Digest
	for i := range len(h.repos) {
		s := h.repos[repoName(i)]
		labels := map[string]string{"org.opencontainers.image.revision": string(sha)}
		config := map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{"Labels": labels, "Env": []string{repoName(i)}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}}}
		if !created.IsZero() {
			config["created"] = created.Format(time.RFC3339)
		}
		raw, err := json.Marshal(config)
		if err != nil {
			panic(err)
		}
		s.blobs[hubDigest(raw)] = raw
		m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
			ociManifest, hubDigest(raw), len(raw))
		d, _ := h.store(s, ociManifest, m)
		for _, tag := range tags {
			s.point(tag, time.Time{}, d)
		}
		digests = append(digests, d)
	}
	return digests
}
