package forge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
)

var _ promote.Ancestry = (*Client)(nil)

// Compare says how next stands to base; both are commits of 7 to 40 hex digits.
// What the forge can't tell is [promote.UnknownRelation] with an error. Answers
// are kept as long as the Client.
func (c *Client) Compare(ctx context.Context, base, next string) (promote.Relation, error) {
	base, next = strings.ToLower(base), strings.ToLower(next)
	for _, sha := range []string{base, next} {
		if !commitForm.MatchString(sha) {
			return promote.UnknownRelation, fmt.Errorf("%s: %q is not a commit of 7 to 40 hex digits", c.name(), untrusted.Line(sha, 80))
		}
	}
	if strings.HasPrefix(base, next) || strings.HasPrefix(next, base) {
		return promote.Same, nil
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	select {
	case c.comparing <- struct{}{}:
		defer func() { <-c.comparing }()
	case <-ctx.Done():
		return promote.UnknownRelation, fmt.Errorf("%s: compare commits: %w", c.name(), context.Cause(ctx))
	}
	key := [2]string{base, next}
	if known, found := c.relations[key]; found {
		return known, nil
	}
	ask := c.compareGitHub
	if c.gitea {
		ask = c.compareGitea
	}
	relation, err := ask(ctx, base, next)
	if err == nil {
		c.relations[key] = relation
	}
	return relation, err
}

// compareGitHub asks for the comparison and reads its status, which comes before
// the commits and files.
func (c *Client) compareGitHub(ctx context.Context, base, next string) (promote.Relation, error) {
	answer, err := c.do(ctx, call{
		what: "compare " + base + " with " + next, needs: contentsRead, method: http.MethodGet, again: true,
		path: []string{"compare", base + "..." + next}, query: url.Values{"per_page": {"1"}},
	})
	if err != nil {
		return promote.UnknownRelation, err
	}
	switch status := field(answer, "status"); status {
	case "identical":
		return promote.Same, nil
	case "ahead":
		return promote.Ahead, nil
	case "behind":
		return promote.Behind, nil
	case "diverged":
		return promote.Diverged, nil
	default:
		return promote.UnknownRelation, fmt.Errorf("%s: compare %s with %s: the answer has no known status", c.name(), base, next)
	}
}

// compareGitea asks both ways for a commit that one side has and the other
// doesn't. (Its /compare counts one way only, lists all commits with their
// files, and gives nothing at all both for equal commits and for those without
// common history.)
func (c *Client) compareGitea(ctx context.Context, base, next string) (promote.Relation, error) {
	ahead, err := c.hasOwn(ctx, next, base)
	if err != nil {
		return promote.UnknownRelation, err
	}
	behind, err := c.hasOwn(ctx, base, next)
	if err != nil {
		return promote.UnknownRelation, err
	}
	switch {
	case ahead && !behind:
		return promote.Ahead, nil
	case behind && !ahead:
		return promote.Behind, nil
	case !ahead && !behind:
		return promote.Same, nil
	}
	// Servers before 1.20 ignore `not`, which looks just like this.
	ignored, err := c.hasOwn(ctx, base, base)
	if err != nil || ignored {
		return promote.UnknownRelation, errorsOr(err, "%s: compare %s with %s: this version can't tell", c.name(), base, next)
	}
	return promote.Diverged, nil
}

// hasOwn reports whether a commit has history that another one doesn't have.
func (c *Client) hasOwn(ctx context.Context, sha, other string) (bool, error) {
	what := "list the commits of " + sha + " that " + other + " lacks"
	answer, err := c.do(ctx, call{
		what: what, needs: contentsRead, method: http.MethodGet, path: []string{"commits"}, again: true,
		query: url.Values{"sha": {sha}, "not": {other}, "limit": {"1"}, "stat": {"false"}, "verification": {"false"}, "files": {"false"}},
	})
	if err != nil {
		return false, err
	}
	var commits []struct {
		SHA string `json:"sha"`
	}
	if err := json.Unmarshal(answer, &commits); err != nil || commits == nil {
		return false, fmt.Errorf("%s: %s: the answer is no list of commits", c.name(), what)
	}
	for _, commit := range commits {
		if !fullForm.MatchString(strings.ToLower(commit.SHA)) {
			return false, fmt.Errorf("%s: %s: the answer is no list of commits", c.name(), what)
		}
	}
	return len(commits) > 0, nil
}

func errorsOr(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// labelIDs finds the ids of labels, which Gitea wants instead of names.
func (c *Client) labelIDs(ctx context.Context, names []string) ([]int64, error) {
	ids := []int64{}
	const pageSize, pages = 50, 10
	for page := 1; page <= pages; page++ {
		answer, err := c.do(ctx, call{
			what: "list the labels", needs: issuesWrite, method: http.MethodGet, path: []string{"labels"}, again: true,
			query: url.Values{"limit": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)}},
		})
		if err != nil {
			return nil, err
		}
		var labels []struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal(answer, &labels); err != nil {
			return nil, fmt.Errorf("%s: list the labels: the answer is no list of labels", c.name())
		}
		for _, l := range labels {
			for _, name := range names {
				if strings.EqualFold(l.Name, name) {
					ids = append(ids, l.ID)
				}
			}
		}
		if len(labels) == 0 || len(ids) >= len(names) {
			break
		}
	}
	return ids, nil
}
