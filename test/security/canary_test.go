// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/cli"
	"github.com/streamd/streamd/test/fleet"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// commands are arguments for every command there is. Whether a command succeeds does not matter here.
var commands = map[string]string{
	"acl": "-o kafka-acls", "api token new": "--role viewer --name alice", "k8s manifests": "--image w:1", "checkpoints list": "", "checkpoints show": "", "checkpoints verify": "", "checkpoints diff": "1 2",
	"config view": "--origin", "describe": "", "dev": "--dir dev --until end", "doctor": "", "plan": "", "gc": "", "status": "", "version": "",
	"fork": "--from latest --as forked --mute", "rollback": "--to latest --dry-run", "rescale": "--from latest --partitions 3 --dry-run",
	"replay": "--from latest --as replayed --mute --until end", "run": "--until end",
	"savepoint create": "kept --timeout 5s", "savepoint list": "", "savepoint show": "kept", "savepoint delete": "kept", "savepoint export": "kept --to kept.tar",
	"savepoint import": "kept.tar", "resume": "", "state get": "per-customer Ada", "state scan": "per-customer", "state export": "--to rows.jsonl",
	"state query": "SELECT", "reset": "--dry-run",
}

// leaves lists the commands that do something.
func leaves(cmd *cobra.Command, visit func(name string)) {
	for _, c := range cmd.Commands() {
		if c.HasSubCommands() {
			leaves(c, visit)
		} else if _, name, _ := strings.Cut(c.CommandPath(), " "); name != "help" && !strings.HasPrefix(name, "completion") {
			visit(name)
		}
	}
}

// secrets are what a world authenticates with, and how the secret looks where it is encoded.
type secrets []string

func (s secrets) scan(w *world) {
	w.t.Helper()
	for _, secret := range s {
		w.scan(secret)
		w.scan(base64.StdEncoding.EncodeToString([]byte(secret)))
		w.scan(base64.RawURLEncoding.EncodeToString([]byte(secret)))
	}
}

func TestNoCommandPrintsASecret(t *testing.T) {
	t.Parallel()
	for name, authenticate := range map[string]func(*world) secrets{
		"password": func(w *world) secrets {
			w.scram("canary-of-scram")
			return secrets{"canary-of-scram"}
		},
		"token": func(w *world) secrets {
			w.tls(kafkabroker.SASLListener)
			secret := token(w.user, time.Hour)
			w.set("SASL_MECHANISM=oauthbearer", "SASL_TOKEN_FILE="+w.write("token", secret))
			return secrets{secret}
		},
		"refused password": func(w *world) secrets {
			w.scram("canary-of-scram")
			w.set("REQUEST_TIMEOUT=1s", "SASL_PASSWORD_FILE="+w.write("wrong", "canary-of-typo"))
			return secrets{"canary-of-typo"}
		},
		"key": func(w *world) secrets {
			w.mutual(w.files.authority)
			_, key := w.certificate(w.files.authority)
			w.write("key.pem", key) // which does not belong to the certificate
			return secrets{strings.Split(key, "\n")[1]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			canaries := authenticate(w)
			w.grant(w.printed()...)
			w.orders(3, "a")
			leaves(cli.Command(pipeline(w.topics)), func(name string) {
				args, known := commands[name]
				if !known {
					t.Fatalf("the command %s is not among the commands that are run here: add it", name)
				}
				w.code(w.start(io.Discard, slices.Concat(strings.Fields(name), strings.Fields(args))...))
			})
			canaries.scan(w)
		})
	}
}

func TestNoPageOfAWorkerShowsASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scram("canary-of-scram")
	w.grant(w.printed()...)
	var addresses []string
	for _, setting := range []string{"HTTP_ADDRESS", "PPROF_ADDRESS"} {
		address, err := fleet.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		w.set(setting + "=" + address)
		addresses = append(addresses, address)
	}
	p := w.start(io.Discard, "run")
	w.orders(3, "a")
	w.counted("Ada", 3)
	for _, page := range []string{
		addresses[0] + "/", addresses[0] + "/livez", addresses[0] + "/readyz", addresses[0] + "/metrics", addresses[0] + "/api/v1/status",
		addresses[1] + "/debug/pprof/cmdline", addresses[1] + "/debug/pprof/goroutine?debug=2",
	} {
		if body := w.get("http://" + page); strings.Contains(body, "canary-of-scram") {
			t.Errorf("%s shows the password", page)
		}
	}
	w.end(p, syscall.SIGTERM)
	w.scan("canary-of-scram")
}

func (w *world) get(url string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}
