// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

// Admin answers an operator's questions about an application, and removes what it has left in Kafka. Safe for
// concurrent use.
type Admin struct{ *Cluster }

// NewAdmin opens a connection and proves that a broker answers.
func NewAdmin(ctx context.Context, cfg *config.Config) (*Admin, error) {
	c, err := Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Admin{c}, nil
}

// ClusterInfo is what the brokers say of themselves.
type ClusterInfo struct {
	ID      string
	Brokers []string // host:port
	// Version is guessed from the requests that the oldest broker knows, such as "v4.0" or "at least v4.3".
	Version string
	// StableFetch: the brokers can hold an offset fetch back while a transaction has offsets in it (2.5).
	StableFetch bool
	// TransactionVersion is the finalized feature transaction.version; from 2 (Kafka 4.0) on every transaction
	// has an epoch of its own, so that a delayed request of an earlier one cannot end a later one.
	TransactionVersion int16
}

// offsetFetchWithStable is the first version of OffsetFetch that has RequireStable (Kafka 2.5).
const offsetFetchWithStable = 7

// Describe asks every broker what it is able to do.
func (a *Admin) Describe(ctx context.Context) (ClusterInfo, error) {
	meta, err := a.adm.BrokerMetadata(ctx)
	if err != nil {
		return ClusterInfo{}, fmt.Errorf("describe the kafka cluster: %w", err)
	}
	info := ClusterInfo{ID: meta.Cluster, StableFetch: true}
	for _, b := range meta.Brokers {
		info.Brokers = append(info.Brokers, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	versions, err := a.adm.ApiVersions(ctx)
	if err != nil {
		return info, fmt.Errorf("ask the brokers for their versions: %w", err)
	}
	lowest := int16(-1)
	for _, v := range versions.Sorted() {
		if v.Err != nil {
			return info, fmt.Errorf("ask broker %d for its versions: %w", v.NodeID, v.Err)
		}
		max, ok := v.KeyMaxVersion(int16(kmsg.OffsetFetch))
		if !ok || max < offsetFetchWithStable {
			info.StableFetch = false
		}
		if produce, _ := v.KeyMaxVersion(int16(kmsg.Produce)); lowest < 0 || produce < lowest {
			lowest, info.Version = produce, v.VersionGuess()
		}
		for _, f := range v.Raw().FinalizedFeatures {
			if f.Name == "transaction.version" {
				info.TransactionVersion = f.MaxVersionLevel
			}
		}
	}
	return info, nil
}

// GroupInfo is a consumer group with its members and what it has committed.
type GroupInfo struct {
	ID        string
	State     string // "Stable", "Empty", ...; "Dead" for one that does not exist
	Members   []GroupMember
	Table     groupbalance.Table // without members while the group rebalances
	Committed map[partition.TopicPartition]Committed
}

// GroupMember is one worker as the group coordinator sees it.
type GroupMember struct {
	ID, Host, ClientID string
	Assigned           []partition.TopicPartition // sorted
	// Placed is its row in Table; the zero value while the group rebalances.
	Placed groupbalance.TableMember
}

// GroupOf describes the group of an application. Offsets in open transactions are not waited for: the older ones
// are returned.
func (a *Admin) GroupOf(ctx context.Context, app string) (GroupInfo, error) {
	d, err := a.describeGroup(ctx, app)
	if err != nil {
		return GroupInfo{}, err
	}
	info := GroupInfo{ID: app, State: d.State, Committed: map[partition.TopicPartition]Committed{}}
	if info.State == "" {
		info.State = "Dead"
	}
	for _, m := range d.Members {
		member := GroupMember{ID: m.MemberID, Host: strings.TrimPrefix(m.ClientHost, "/"), ClientID: m.ClientID}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				for _, p := range t.Partitions {
					member.Assigned = append(member.Assigned, partition.TopicPartition{Topic: t.Topic, Partition: p})
				}
			}
			if table, err := groupbalance.ParseTable(assigned.UserData); err == nil { // else it rebalances, or is not of streamd
				info.Table, member.Placed = table, table.Own()
			}
		}
		slices.SortFunc(member.Assigned, partition.TopicPartition.Compare)
		info.Members = append(info.Members, member)
	}
	offsets, err := a.adm.FetchOffsets(ctx, app)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return info, denied(fmt.Errorf("fetch offsets of group %s: %w", app, err), onGroup(Describe, app))
	}
	for _, o := range offsets.Sorted() {
		if o.Err != nil {
			return info, denied(fmt.Errorf("fetch offset of %s/%d in group %s: %w", o.Topic, o.Partition, app, o.Err), onTopic(Describe, o.Topic))
		}
		info.Committed[partition.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = Committed{Offset: o.At, Metadata: o.Metadata}
	}
	return info, nil
}

// coordinatorPatience is how long a cluster may take to create its offsets topic, which it does when the first
// client asks for a group.
const coordinatorPatience = 15 * time.Second

// describeGroup returns the zero group for one that does not exist.
func (c *Cluster) describeGroup(ctx context.Context, app string) (kadm.DescribedGroup, error) {
	for deadline := time.Now().Add(coordinatorPatience); ; {
		described, err := c.adm.DescribeGroups(ctx, app)
		if err == nil {
			err = described.Error()
		}
		if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
			return described[app], nil
		}
		if !errors.Is(err, kerr.CoordinatorNotAvailable) || time.Now().After(deadline) {
			return kadm.DescribedGroup{}, denied(fmt.Errorf("describe group %s: %w", app, err), onGroup(Describe, app))
		}
		if err := Pause(ctx, 100*time.Millisecond); err != nil {
			return kadm.DescribedGroup{}, fmt.Errorf("describe group %s: %w", app, err)
		}
	}
}

// Transaction is a transaction that is open now.
type Transaction struct {
	ID       string
	State    string
	Age      time.Duration // by this machine's clock
	Timeout  time.Duration
	Touching []partition.TopicPartition
}

// Transactions returns the open transactions of the ids that begin with prefix, oldest first.
func (a *Admin) Transactions(ctx context.Context, prefix string) ([]Transaction, error) {
	ids, err := a.openTransactions(ctx, prefix)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	described, err := a.adm.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe transactions: %w", err)
	}
	var open []Transaction
	for _, d := range described.Sorted() {
		if errors.Is(d.Err, kerr.TransactionalIDNotFound) {
			continue // it has ended meanwhile
		}
		if d.Err != nil {
			return nil, fmt.Errorf("describe transaction %s: %w", d.TxnID, d.Err)
		}
		t := Transaction{
			ID: d.TxnID, State: d.State, Timeout: time.Duration(d.TimeoutMillis) * time.Millisecond,
			Age: max(0, time.Since(time.UnixMilli(d.StartTimestamp))),
		}
		for _, topic := range d.Topics.Sorted() {
			for _, p := range topic.Partitions {
				t.Touching = append(t.Touching, partition.TopicPartition{Topic: topic.Topic, Partition: p})
			}
		}
		open = append(open, t)
	}
	slices.SortStableFunc(open, func(x, y Transaction) int { return int(y.Age - x.Age) })
	return open, nil
}

// InternalTopics returns the names of the changelog and repartition topics of every life of an application.
func (a *Admin) InternalTopics(ctx context.Context, app string) ([]string, error) {
	all, err := a.adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	return internalOf(app, all.Names()), nil
}

// internalOf picks an application's internal topics by the form of their names: "orders-1-0-changelog" is one of
// "orders", "orders-eu-1-0-changelog" is not.
func internalOf(app string, names []string) []string {
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(app) + `-\d+-(\d+-changelog|.+-repartition)$`)
	var found []string
	for _, n := range names {
		if ours.MatchString(n) {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found
}

// DeleteTopics deletes topics. Those that do not exist are not an error.
func (a *Admin) DeleteTopics(ctx context.Context, topics ...string) error {
	if len(topics) == 0 {
		return nil
	}
	responses, err := a.adm.DeleteTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	var errs []error
	for _, r := range responses.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			errs = append(errs, denied(fmt.Errorf("delete topic %s: %w", r.Topic, r.Err), onTopic(Delete, r.Topic)))
		}
	}
	return errors.Join(errs...)
}

// ErrGroupBusy says that workers of the application are running.
var ErrGroupBusy = errors.New("the group has members: stop its workers first")

// DeleteGroup deletes the application's group with its committed offsets. One that does not exist is not an error.
func (a *Admin) DeleteGroup(ctx context.Context, app string) error {
	_, err := a.adm.DeleteGroup(ctx, app)
	switch {
	case err == nil, errors.Is(err, kerr.GroupIDNotFound):
		return nil
	case errors.Is(err, kerr.NonEmptyGroup):
		return fmt.Errorf("delete group %s: %w", app, ErrGroupBusy)
	}
	return denied(fmt.Errorf("delete group %s: %w", app, err), onGroup(Delete, app))
}
