package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Cancelled asks whether a run of the forge's own actions was cancelled, or has
// ended, while its job is still at work: a runner that lost the job sends no
// signal. The text says what the forge answered; empty: the run goes on.
//
// An error means that nobody knows. A refused token (401) is not one where the
// token was good before: a forge takes the token of a job away when it ends.
func (c *Client) Cancelled(ctx context.Context, run int64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	answer, err := c.do(ctx, call{
		what: "ask about this run", needs: actionsRead, path: []string{"actions", "runs", strconv.FormatInt(run, 10)},
	})
	var refused *RequestError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && c.wasGood():
		return c.name() + " has taken this run's token away: the run was cancelled there", nil
	case err != nil:
		return "", err
	}
	// GitHub says status and conclusion; Gitea the same, and older ones a status of
	// "cancelled" alone.
	status, conclusion := field(answer, "status"), field(answer, "conclusion")
	switch {
	case status == "cancelled" || conclusion == "cancelled":
		return c.name() + " reports this run as cancelled", nil
	case status == "completed" || conclusion != "":
		return fmt.Sprintf("%s reports this run as ended", c.name()), nil
	case status == "":
		return "", fmt.Errorf("%s: ask about this run: the answer has no status", c.name())
	}
	return "", nil
}
