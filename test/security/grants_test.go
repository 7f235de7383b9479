// SPDX-License-Identifier: Apache-2.0

package security

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/kafka"
)

func TestAWorkerNeedsNoMoreThanThePrintedGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.scram("canary-of-scram")
	w.grant(w.printed()...)
	w.run(0, []string{"doctor"}, "all 10 of the worker")
	w.orders(20, "a")
	first := w.start(io.Discard, "run")
	w.counted("Ada", 20)
	w.says(first, "checkpoint stored")
	w.orders(20, "a")
	w.counted("Ada", 40)
	w.end(first, syscall.SIGKILL)

	// Another machine: what it knows of the first one's state is in the object store and in Kafka.
	w.set("STATE_DIR=" + filepath.Join(w.dir, "other"))
	w.orders(20, "a")
	second := w.start(io.Discard, "run")
	w.counted("Ada", 60)
	w.says(second, "checkpoint stored")
	if code := w.end(second, syscall.SIGTERM); code != 0 {
		t.Fatalf("a drained worker has ended with %d", code)
	}
	w.run(0, []string{"doctor"})
	w.run(0, []string{"run", "--until", "end"})
	for _, p := range []*process{first, second} {
		if strings.Contains(p.text(), "AUTHORIZATION_FAILED") {
			t.Errorf("something was refused:\n%s", p.text())
		}
	}
}

func TestAWorkerNeedsEachOfThePrintedGrants(t *testing.T) {
	t.Parallel()
	for i := range newWorld(t).printed() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.scram("canary-of-scram")
			grants := w.printed()
			missing := grants[i]
			w.grant(slices.Delete(grants, i, i+1)...)
			w.run(7, []string{"doctor"}, "missing: "+missing.String())
			w.orders(20, "a")
			p := w.start(io.Discard, "run")
			w.says(p, "this principal lacks the grant: ")
			if missing.Operation == kafka.Delete { // only trimming fails, which is tried again
				w.says(p, "background work failed; it is tried again")
				w.end(p, syscall.SIGKILL)
			} else if code := w.code(p); code != 7 {
				t.Errorf("exit code %d", code)
			}
			if got := lacking(p.text()); !strings.HasPrefix(got, string(missing.Operation)+" on ") && !implied(missing, got) || !strings.Contains(got, missing.Name) {
				t.Errorf("without %v it says that this is missing: %s", missing, got)
			}
			w.grant(missing)
			w.run(0, []string{"doctor"})
			if missing.Operation != kafka.Delete {
				w.run(0, []string{"run", "--until", "end"})
			}
		})
	}
}

// lacking returns the grant that the program says is missing.
func lacking(text string) string {
	_, after, _ := strings.Cut(text, "this principal lacks the grant: ")
	grant, _, _ := strings.Cut(after, ";")
	return grant
}

// implied says whether the first request that fails without the grant asks only to describe.
func implied(missing kafka.Grant, said string) bool {
	return missing.Operation != kafka.Create && strings.HasPrefix(said, "Describe on ")
}

func TestAnOperatorNeedsExactlyThePrintedGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	worker := *w // another user of the same application
	worker.env, worker.user = slices.Clone(w.env), w.user+"-worker"
	worker.scram("canary-of-scram")
	worker.grant(worker.printed()...)
	worker.orders(5, "a")
	p := worker.start(io.Discard, "run")
	worker.says(p, "checkpoint stored")
	worker.counted("Ada", 5)

	w.scram("canary-of-scram")
	grants := w.printed("--for", "operator")
	w.grant(grants...)
	w.run(0, []string{"doctor", "--for", "operator"}, "all 8 of the operator")
	w.run(0, []string{"status"})
	worker.end(p, syscall.SIGTERM)
	w.run(0, []string{"plan"})
	w.run(0, []string{"rollback", "--to", "latest", "--yes", w.app})
	for i := range grants {
		w.operate(i)
	}
	prefixed := w.app + "prefixed"
	w.grant(w.printed("--for", "operator", "--app-id", prefixed, "--prefix", prefixed+".")...)
	w.run(0, []string{"fork", "--from", "latest", "--as", prefixed, "--prefix", prefixed + "."})
	w.run(0, []string{"reset", "--app-id", prefixed, "--yes", prefixed})
	w.run(0, []string{"reset", "--yes", w.app})
}

// operate begins a fork and removes it, and expects that without the grant of a number one of these fails and says why.
func (w *world) operate(number int) {
	w.t.Helper()
	app := fmt.Sprintf("%sfork%d", w.app, number)
	grants := w.printed("--for", "operator", "--app-id", app)
	w.grant(grants...)
	missing := grants[number]
	w.revoke(missing)
	w.run(7, []string{"doctor", "--for", "operator", "--app-id", app}, "missing: "+missing.String())
	fork, reset := []string{"fork", "--from", "latest", "--as", app, "--mute"}, []string{"reset", "--app-id", app, "--yes", app}
	switch {
	case missing.Operation == kafka.Delete:
		w.run(0, fork)
		w.run(7, reset, "this principal lacks the grant: ", missing.Name)
	case missing.Operation == kafka.Write && missing.Resource == kafka.TopicResource:
		w.run(0, fork) // nothing was in flight
	default:
		w.run(7, fork, "this principal lacks the grant: ", missing.Name)
	}
	w.grant(missing)
	w.run(0, fork)
	w.run(0, reset)
}

func TestThePrintedCommandsAddThePrintedGrants(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	w := newWorld(t)
	tools := filepath.Join(w.dir, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	// A tool that prints its arguments, one a line.
	tool := "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done\necho\n"
	if err := os.WriteFile(filepath.Join(tools, "kafka-acls.sh"), []byte(tool), 0o755); err != nil {
		t.Fatal(err)
	}
	script := w.run(0, []string{"acl", "-o", "kafka-acls", "--principal", "User:it's me"})
	sh := exec.CommandContext(w.ctx, "sh", "-s", "--", "--command-config", "admin.properties")
	sh.Stdin, sh.Env = strings.NewReader(script), []string{"PATH=" + tools + ":" + os.Getenv("PATH")}
	out, err := sh.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	var got []string
	for command := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		words := strings.Split(command, "\n")
		at := func(flag string) string { return words[slices.Index(words, flag)+1] }
		if at("--allow-principal") != "User:it's me" || at("--command-config") != "admin.properties" || !slices.Contains(words, "--add") {
			t.Errorf("got %q", words)
		}
		for i, word := range words {
			for _, resource := range []kafka.Resource{kafka.TopicResource, kafka.GroupResource, kafka.TransactionalIDResource} {
				if word != "--"+string(resource) {
					continue
				}
				for j, op := range words {
					if op == "--operation" {
						g := kafka.Grant{Resource: resource, Name: words[i+1], Prefixed: at("--resource-pattern-type") == "prefixed", Operation: kafka.Operation(words[j+1])}
						got = append(got, g.String())
					}
				}
			}
		}
	}
	var want []string
	for _, g := range w.printed() {
		want = append(want, g.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.run(2, []string{"acl", "-o", "kafka-acls"}, "--principal")
	w.run(2, []string{"acl", "--for", "nobody"}, "worker", "operator")
}
