// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// claim is the content of a claim: who collects, and what it keeps.
type claim struct {
	By      string `json:"by"`
	ID      string `json:"id"` // tells two claims of one process apart, so that each knows its own
	Kept    int    `json:"kept"`
	KeptFor string `json:"keptFor"` // a duration
}

func (c claim) validate() error {
	_, err := c.retention()
	return err
}

func (c claim) retention() (Retention, error) {
	keptFor, err := time.ParseDuration(c.KeptFor)
	if err != nil || keptFor < 0 || c.Kept < 1 {
		return Retention{}, fmt.Errorf("it keeps %d rounds, and those younger than %.40q", c.Kept, c.KeptFor)
	}
	return Retention{Kept: c.Kept, KeptFor: keptFor}, nil
}

// Collector is the right to collect an application's garbage. It ends when another is given: the newest claim alone
// deletes. It may be used by one goroutine at a time.
type Collector struct {
	r      *Repository
	keep   Retention
	number int64
	swept  time.Time // when objects were last looked through, by the process's clock
}

// Claim takes over collection of the application's garbage from whoever has it. by says who does, for people. Make a claim
// with the proof that one is the process that should collect, not later: a process that was the owner once and does not
// know that it is no more must not claim anew by itself.
func (r *Repository) Claim(ctx context.Context, by string, keep Retention) (*Collector, error) {
	keep.Kept = max(keep.Kept, 1)
	c := &Collector{r: r, keep: keep}
	if err := CheckID(r.app); err != nil {
		return nil, err
	}
	if err := c.claim(ctx, by); err != nil {
		return nil, fmt.Errorf("claim the collection of application %s: %w", r.app, err)
	}
	return c, nil
}

// claim creates the claim of the next number. Each number that is taken meanwhile is another's progress.
func (c *Collector) claim(ctx context.Context, by string) error {
	content := claim{By: by, ID: rand.Text(), Kept: c.keep.Kept, KeptFor: c.keep.KeptFor.String()}
	for {
		newest, err := c.r.newestClaim(ctx)
		if err != nil {
			return err
		}
		c.number = newest + 1
		err = c.r.createDocument(ctx, claimName(c.r.app, c.number), kindClaim, content)
		if err == nil {
			return c.forgetOlder(ctx)
		}
		if !errors.Is(err, objstore.ErrExists) {
			return err
		}
	}
}

// forgetOlder deletes the claims before this one. The newest stays, so that numbers go on rising.
func (c *Collector) forgetOlder(ctx context.Context) error {
	for info, err := range c.r.store.List(ctx, claimsName(c.r.app)) {
		if err != nil {
			return err
		}
		if n, ok := parseClaim(c.r.app, info.Name); ok && n < c.number {
			if err := c.r.store.Delete(ctx, info.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// newestClaim is the number of the newest claim; 0 if there is none.
func (r *Repository) newestClaim(ctx context.Context) (int64, error) {
	var newest int64
	for info, err := range r.store.List(ctx, claimsName(r.app)) {
		if err != nil {
			return 0, err
		}
		if n, ok := parseClaim(r.app, info.Name); ok {
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// Retention returns what the newest claim keeps, and false if nobody has claimed yet.
func (r *Repository) Retention(ctx context.Context) (Retention, bool, error) {
	keep, ok, err := r.retention(ctx)
	if err != nil {
		return keep, false, fmt.Errorf("read what the collection of application %s keeps: %w", r.app, err)
	}
	return keep, ok, nil
}

func (r *Repository) retention(ctx context.Context) (keep Retention, ok bool, err error) {
	if err := CheckID(r.app); err != nil {
		return keep, false, err
	}
	for {
		newest, err := r.newestClaim(ctx)
		if err != nil || newest == 0 {
			return keep, false, err
		}
		var content claim
		err = r.readDocument(ctx, claimName(r.app, newest), kindClaim, &content)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // a newer one has taken its place
		}
		if err != nil {
			return keep, false, err
		}
		keep, err = content.retention()
		return keep, err == nil, err
	}
}

// prove fails with ErrSuperseded unless this is the newest claim.
func (c *Collector) prove(ctx context.Context) error {
	newest, err := c.r.newestClaim(ctx)
	if err == nil && newest != c.number {
		err = fmt.Errorf("%w: this is collection claim %d, the newest is %d: another process has taken over", ErrSuperseded, c.number, newest)
	}
	return err
}
