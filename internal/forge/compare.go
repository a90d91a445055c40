package forge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Compare says how next stands to base. Where the forge can't say, the relation is
// [report.UnknownRelation] and the error says why; it is a [*RequestError] where
// the request failed. Answers are kept as long as the Client.
func (c *Client) Compare(ctx context.Context, base, next report.Commit) (report.Relation, error) {
	for _, commit := range []*report.Commit{&base, &next} {
		parsed, err := report.ParseCommit(string(*commit))
		if err != nil {
			return report.UnknownRelation, fmt.Errorf("%s: compare commits: %w", c.name(), err)
		}
		*commit = parsed
	}
	if base.Same(next) {
		return report.Identical, nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	select {
	case c.comparing <- struct{}{}:
		defer func() { <-c.comparing }()
	case <-ctx.Done():
		return report.UnknownRelation, fmt.Errorf("%s: compare commits: %w", c.name(), context.Cause(ctx))
	}
	key := [2]report.Commit{base, next}
	if known, found := c.relations[key]; found {
		return known, nil
	}
	ask := c.compareGitHub
	if c.gitea {
		ask = c.compareGitea
	}
	relation, err := ask(ctx, string(base), string(next))
	if err == nil {
		c.relations[key] = relation
	}
	return relation, err
}

// compareGitHub asks for the comparison and reads its status, which comes before
// the commits and files.
func (c *Client) compareGitHub(ctx context.Context, base, next string) (report.Relation, error) {
	answer, err := c.do(ctx, call{
		what: "compare " + base + " with " + next, needs: contentsRead,
		path: []string{"compare", base + "..." + next}, query: url.Values{"per_page": {"1"}},
	})
	if err != nil {
		return report.UnknownRelation, err
	}
	status := field(answer, "status")
	for _, relation := range []report.Relation{report.Identical, report.Ahead, report.Behind, report.Diverged} {
		if status == relation.String() {
			return relation, nil
		}
	}
	return report.UnknownRelation, fmt.Errorf("%s: compare %s with %s: the answer has no known status", c.name(), base, next)
}

// compareGitea asks both ways for a commit that one side has and the other
// doesn't. (Its /compare counts one way only, lists all commits with their
// files, and gives nothing at all both for equal commits and for those without
// common history.)
func (c *Client) compareGitea(ctx context.Context, base, next string) (report.Relation, error) {
	ahead, err := c.hasOwn(ctx, next, base)
	if err != nil {
		return report.UnknownRelation, err
	}
	behind, err := c.hasOwn(ctx, base, next)
	if err != nil {
		return report.UnknownRelation, err
	}
	switch {
	case ahead && !behind:
		return report.Ahead, nil
	case behind && !ahead:
		return report.Behind, nil
	case !ahead && !behind:
		return report.Identical, nil
	}
	// Servers before 1.20 ignore `not`, which looks just like this.
	ignored, err := c.hasOwn(ctx, base, base)
	if err != nil {
		return report.UnknownRelation, err
	}
	if ignored {
		return report.UnknownRelation, fmt.Errorf("%s: compare %s with %s: Gitea before 1.20 cannot compare commits", c.name(), base, next)
	}
	return report.Diverged, nil
}

// hasOwn reports whether a commit has history that another one doesn't have.
func (c *Client) hasOwn(ctx context.Context, sha, other string) (bool, error) {
	what := "list the commits of " + sha + " that " + other + " lacks"
	answer, err := c.do(ctx, call{
		what: what, needs: contentsRead, path: []string{"commits"},
		query: url.Values{"sha": {sha}, "not": {other}, "limit": {"1"}, "stat": {"false"}, "verification": {"false"}, "files": {"false"}},
	})
	if err != nil {
		return false, err
	}
	var commits []struct {
		SHA string `json:"sha"`
	}
	valid := json.Unmarshal(answer, &commits) == nil && commits != nil
	for _, commit := range commits {
		parsed, err := report.ParseCommit(commit.SHA)
		valid = valid && err == nil && parsed.Whole()
	}
	if !valid {
		return false, fmt.Errorf("%s: %s: the answer is not a list of commits", c.name(), what)
	}
	return len(commits) > 0, nil
}
