// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchError names an error that polling does not heal.
func fetchError(topic string, p int32, err error) error {
	var loss *kgo.ErrDataLoss
	switch {
	case errors.As(err, &loss), errors.Is(err, kerr.OffsetOutOfRange):
		return fmt.Errorf("read %s/%d: %w: %w; keep the topic longer, or go on from a chosen place with reset", topic, p, ErrOffsetExpired, err)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		return fmt.Errorf("read %s/%d: %w: %w", topic, p, ErrTopicGone, err)
	}
	return denied(fmt.Errorf("read %s/%d: %w", topic, p, err), onTopic(Read, topic))
}
