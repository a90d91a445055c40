package smoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Limits of a sweep: what may still be a running check's is not touched, and no
// run has to do the work of a hundred killed ones.
const (
	sweepAge      = time.Hour
	maxSwept      = 50
	maxRefusals   = 3 // deletions that were refused, after which it gives up
	maxSweptNamed = 5
	minPrefix     = 6 // characters with which our own names must begin
)

// A sweep finds and deletes what the checks of an earlier run, which was killed,
// left on a tenant.
type sweep struct {
	list   step       // its answer is a JSON array
	where  *expr.Expr // of an element: whether a check made it
	age    *expr.Expr // of an element: when that was
	delete template   // the path, with fields of the element
}

// leftovers are what a sweep came to.
type leftovers struct {
	removed  []string // paths
	failed   []string // why one is still there
	more     int      // beyond maxSwept
	ageless  int      // of which nobody knows how old they are
	unusable string   // why nothing can be said
}

// sweep deletes the leftovers of earlier runs, and warns of what it did. It runs
// beside the checks, which have nothing to do with what is an hour old: a tenant
// that does not answer costs its time once. Why the list can't be had, a check
// says; here that is no warning.
func (t *tenantRun) sweep(ctx context.Context) {
	s := t.suite.sweep
	request, err := s.list.request(t.values())
	if err != nil {
		return
	}
	response, err := t.send(ctx, request)
	if err != nil || response.Status != http.StatusOK {
		return
	}
	var found leftovers
	due := t.due(ctx, response, &found)
	for i, path := range due {
		if !t.remove(ctx, path, &found) {
			found.more += len(due) - i - 1
			break
		}
	}
	t.warnOf(found)
}

// due returns the paths of what is to be deleted, at most maxSwept of them. How old
// something is, the tenant's own clock says.
func (t *tenantRun) due(ctx context.Context, response *fleet.Response, found *leftovers) []string {
	t.evaluating <- struct{}{}
	defer func() { <-t.evaluating }()
	s, a := t.suite.sweep, t.seen(response, t.values())
	value, err := a.Value("json")
	rows, ok := value.([]any)
	now, dateErr := http.ParseTime(response.Header.Get("Date"))
	if err == nil && !ok {
		err = errors.New("the answer is not an array")
	}
	if err == nil && dateErr != nil {
		err = errors.New("the answer has no Date, without which nothing can be said of an age")
	}
	if err != nil {
		found.unusable = err.Error()
		return nil
	}
	var due []string
	e := expr.NewEvaluation(a).Within(ctx).Showing(t.session.Redactor().Redact)
	for _, row := range rows {
		if ours, err := e.Element(s.where, row); ours != true {
			if limit := new(expr.LimitError); errors.As(err, &limit) {
				found.unusable = err.Error()
				break
			}
			continue
		}
		made, err := e.Element(s.age, row)
		born, ok := moment(made)
		path, pathErr := s.path(row)
		switch {
		case err != nil || !ok || pathErr != nil:
			found.ageless++
		case now.Sub(born) < sweepAge:
		case len(due) == maxSwept:
			found.more++
		default:
			due = append(due, path)
		}
	}
	return due
}

// path returns the path that deletes an element.
func (s *sweep) path(row any) (string, error) {
	fields, _ := row.(map[string]any)
	path, err := s.delete.expand(fields)
	if err == nil {
		err = fleet.CheckPath(path)
	}
	return path, err
}

// moment returns the time that a value stands for: text as in RFC 3339, or the
// seconds since 1970.
func moment(v any) (time.Time, bool) {
	switch v := v.(type) {
	case string:
		at, err := time.Parse(time.RFC3339, v)
		return at, err == nil
	case json.Number:
		seconds, err := v.Float64()
		return time.Unix(int64(seconds), 0), err == nil
	default:
		return time.Time{}, false
	}
}

// remove deletes one thing. It reports false where there is no use in going on.
func (t *tenantRun) remove(ctx context.Context, path string, found *leftovers) bool {
	response, err := t.send(ctx, fleet.Request{Method: http.MethodDelete, Path: path})
	plain, _, _ := strings.Cut(path, "?")
	switch {
	case err != nil:
		found.failed = append(found.failed, err.Error())
		return false
	case response.Status == http.StatusNotFound: // another run was quicker
	case response.Status < 200 || response.Status > 299:
		found.failed = append(found.failed, fmt.Sprintf("DELETE %s answered %d", plain, response.Status))
	default:
		found.removed = append(found.removed, plain)
	}
	return len(found.failed) < maxRefusals
}

// warnOf says what a sweep did, and what it could not do.
func (t *tenantRun) warnOf(found leftovers) {
	s := t.suite.sweep
	if found.unusable != "" {
		t.warn(fmt.Sprintf("it could not be seen whether earlier runs left something behind: %s: %s", s.list.line(), found.unusable))
	}
	if n := len(found.removed); n > 0 {
		t.warn(fmt.Sprintf("removed %s of earlier runs that were killed: %s", report.Count(n, "leftover"), some(found.removed)))
	}
	if n := len(found.failed); n > 0 {
		t.warn(fmt.Sprintf("%s of earlier runs could not be removed: %s", report.Count(n, "leftover"), some(found.failed)))
	}
	if found.more > 0 {
		t.warn(fmt.Sprintf("%s of earlier runs stay for the next run", report.Count(found.more, "more leftover")))
	}
	if found.ageless > 0 {
		t.warn(fmt.Sprintf("%s may be of earlier runs, but how old they are is not known; they stay", report.Count(found.ageless, "entry")))
	}
}

// some lists a few things, and how many more there are.
func some(all []string) string {
	if len(all) <= maxSweptNamed {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:maxSweptNamed], ", "), len(all)-maxSweptNamed)
}
