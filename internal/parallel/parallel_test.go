package parallel_test

import (
	"errors"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
)

func TestPanicIsAnErrorThatQuotesNothing(t *testing.T) {
	err := parallel.Guard(func() error { panic("the token is t0ken") })
	var caught *parallel.PanicError
	if !errors.As(err, &caught) || caught.Value != "the token is t0ken" || len(caught.Stack) == 0 {
		t.Fatalf("Guard = %v", err)
	}
	if strings.Contains(err.Error(), "t0ken") {
		t.Errorf("the error quotes the panic: %v", err)
	}
	if err := <-parallel.Background(func() error { panic(1) }); !errors.As(err, &caught) {
		t.Errorf("Background = %v", err)
	}
}

func TestEachJoinsInOrderAndOnce(t *testing.T) {
	words := []string{"b", "", "a", "b"}
	err := parallel.Each(len(words), func(i int) error {
		if words[i] == "" {
			return nil
		}
		return errors.New(words[i])
	})
	if err == nil || err.Error() != "b\na" {
		t.Errorf("Each = %v", err)
	}
	if err := parallel.Together(func() error { return nil }); err != nil {
		t.Errorf("Together = %v", err)
	}
}
