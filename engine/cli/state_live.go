// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/query"
)

// liveOptions are the flags of commands that ask workers for state.
type liveOptions struct {
	on        bool
	endpoints []string
	tokenFile string
	caFile    string
	stale     bool
	position  []string
}

func (o *liveOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.on, "live", false, "ask the workers for the present state, instead of a checkpoint")
	f.StringSliceVar(&o.endpoints, "endpoint", nil, "with --live: `URLs` of workers' HTTP APIs; those that the group has if there are none")
	f.StringVar(&o.tokenFile, "token-file", "", "with --live: `file` of the token to show to the workers")
	f.StringVar(&o.caFile, "ca-file", "", "with --live: PEM `file` of the authorities to trust")
	f.BoolVar(&o.stale, "stale", false, "with --live: let a standby answer while a task is being moved")
	f.StringArrayVar(&o.position, "min-position", nil, "with --live: wait until the state reflects this `position`: topic/partition@offset, or the token of an answer")
}

// liveTimeout is how long workers have to answer, unless --timeout says how long all may take.
const liveTimeout = 15 * time.Second

// withinLive bounds a request to workers.
func withinLive(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	if cmd.Flags().Changed("timeout") {
		return context.WithCancel(cmd.Context())
	}
	return context.WithTimeout(cmd.Context(), liveTimeout)
}

// liveClient finds workers to ask.
func (p *program) liveClient(ctx context.Context, cmd *cobra.Command, o liveOptions) (*query.Client, error) {
	if len(o.endpoints) == 0 {
		cfg, err := p.application(cmd)
		if err != nil {
			return nil, err
		}
		adm, err := kafka.NewAdmin(ctx, cfg)
		if err != nil {
			return nil, err
		}
		defer adm.Close()
		group, err := adm.GroupOf(ctx, cfg.AppID)
		if err != nil {
			return nil, err
		}
		for _, m := range group.Members {
			if m.Placed.Endpoint != "" {
				o.endpoints = append(o.endpoints, m.Placed.Endpoint)
			}
		}
		if len(o.endpoints) == 0 {
			return nil, failf(exitNotFound, "application %s has %d workers on %v, and none of them has told where its HTTP API is: the group may be rebalancing, so try again, or give --endpoint", cfg.AppID, len(group.Members), cfg.Brokers)
		}
	}
	c, err := query.NewClient(query.ClientOptions{Endpoints: o.endpoints, TokenFile: o.tokenFile, CAFile: o.caFile})
	if err != nil {
		return nil, failf(exitUsage, "%w", err)
	}
	return c, nil
}

// liveAnswer is what of an answer is shown in a table.
type liveAnswer struct {
	Key   jsontext.Value   `json:"key"`
	Value jsontext.Value   `json:"value"`
	Time  jsontext.Value   `json:"time"`
	Rows  []jsontext.Value `json:"rows"`
	Next  string           `json:"nextPageToken"`
}

type liveRow struct {
	Key    jsontext.Value `json:"key"`
	SubKey jsontext.Value `json:"subKey"`
	Time   jsontext.Value `json:"time"`
	Value  jsontext.Value `json:"value"`
}

// ask gets an answer about a store.
func (o liveOptions) ask(ctx context.Context, c *query.Client, store string, params url.Values) (body []byte, a liveAnswer, err error) {
	if o.stale {
		params.Set("stale", "allow")
	}
	params["min-position"] = o.position
	if body, err = c.Fetch(ctx, query.Path+"/"+url.PathEscape(store)+"/keys?"+params.Encode()); err != nil {
		return nil, a, liveError(err)
	}
	return body, a, json.Unmarshal(body, &a)
}

// liveError gives a problem its exit code.
func liveError(err error) error {
	var p *api.Problem
	if !errors.As(err, &p) {
		return err
	}
	switch p.Status {
	case http.StatusBadRequest:
		return failf(exitUsage, "%w", err)
	case http.StatusNotFound, http.StatusConflict:
		return failf(exitNotFound, "%w", err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return failf(exitAuth, "%w", err)
	case http.StatusServiceUnavailable:
		return failf(exitTimeout, "%w", err)
	}
	return err
}

func (p *program) getLive(cmd *cobra.Command, o liveOptions, got []string) error {
	ctx, cancel := withinLive(cmd)
	defer cancel()
	c, err := p.liveClient(ctx, cmd, o)
	if err != nil {
		return err
	}
	defer c.Close()
	params := url.Values{"key": {got[1]}}
	if len(got) > 2 {
		params.Set("sub-key", got[2])
	}
	body, a, err := o.ask(ctx, c, got[0], params)
	if err != nil {
		return err
	}
	if outputFormat(cmd) == "json" {
		return writeJSON(cmd.OutOrStdout(), jsontext.Value(body))
	}
	t := newTable("KEY", "SUBKEY", "TIME", "VALUE")
	if a.Rows == nil {
		addLive(t, liveRow{Key: a.Key, Time: a.Time, Value: a.Value})
	}
	for _, text := range a.Rows {
		var row liveRow
		if err := json.Unmarshal(text, &row); err != nil {
			return err
		}
		addLive(t, row)
	}
	if a.Next != "" {
		say(cmd, "the key has more entries: state scan, or -o json for the next page")
	}
	return t.write(cmd.OutOrStdout())
}

func addLive(t *table, r liveRow) {
	t.row(liveText(r.Key), liveText(r.SubKey), liveText(r.Time), liveText(r.Value))
}

// liveText shows a JSON value as tables do: texts without quotes, and nothing as a dash.
func liveText(v jsontext.Value) string {
	switch {
	case len(v) == 0:
		return "-"
	case v.Kind() == '"':
		if text, err := jsontext.AppendUnquote(nil, v); err == nil {
			return string(text)
		}
	}
	return string(v)
}

func (p *program) scanLive(cmd *cobra.Command, o liveOptions, s scanOptions, store string) error {
	ctx := cmd.Context()
	c, err := p.liveClient(ctx, cmd, o)
	if err != nil {
		return err
	}
	defer c.Close()
	params := url.Values{}
	if s.prefix != "" {
		params.Set("prefix", s.prefix)
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	t, asJSON, n := newTable("KEY", "SUBKEY", "TIME", "VALUE"), outputFormat(cmd) == "json", 0
	for more := true; more && err == nil; {
		if s.limit > 0 {
			params.Set("limit", strconv.Itoa(s.limit-n))
		}
		page, cancel := withinLive(cmd)
		_, a, askErr := o.ask(page, c, store, params)
		cancel()
		if askErr != nil {
			err = askErr
			break
		}
		for _, text := range a.Rows {
			var row liveRow
			if asJSON {
				err = errors.Join(err, writeLine(out, text))
			} else if err = errors.Join(err, json.Unmarshal(text, &row)); err == nil {
				addLive(t, row)
				err = t.page(out)
			}
		}
		n += len(a.Rows)
		params.Set("page-token", a.Next)
		if more = a.Next != ""; more && s.limit > 0 && n >= s.limit {
			say(cmd, "stopped after %d entries: --limit 0 prints all", n)
			more = false
		}
	}
	if err == nil && !asJSON {
		err = t.write(out)
	}
	return errors.Join(err, out.Flush())
}
