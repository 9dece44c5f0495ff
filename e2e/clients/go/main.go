// What programs in Go do with clientv3, concurrency and leasing, told line by line.
//
// Nothing that it prints differs between two runs against the same server: no ids, no times. Each scene keeps to a
// prefix of its own, and revisions are told relative to the scene's first.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Long enough for a loaded machine; nothing here waits for a time.
const sceneTimeout = 30 * time.Second

type scene struct {
	name string
	play func(context.Context, *clientv3.Client) error
}

func main() {
	endpoints := os.Args[1:]
	fails := len(endpoints) > 0 && endpoints[0] == "failover"
	if fails {
		endpoints = endpoints[1:]
	}
	if len(endpoints) == 0 {
		fmt.Fprintln(os.Stderr, "usage: clients [failover] ENDPOINT...")
		os.Exit(2)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: sceneTimeout,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer client.Close()
	if fails {
		failover(client)
		return
	}
	for _, it := range []scene{
		{"kv", kv}, {"txn", txn}, {"watch", watch}, {"compaction", compaction}, {"lease", lease},
		{"mutex", mutex}, {"election", election}, {"stm", stm}, {"leasing", leased}, {"auth", auth},
	} {
		fmt.Println("==", it.name)
		ctx, cancel := context.WithTimeout(context.Background(), sceneTimeout)
		if err := it.play(ctx, client); err != nil {
			fmt.Println("failed:", err)
		}
		cancel()
	}
}

// told prints what was answered, or the error by its text.
func told(what string, err error, answer ...any) {
	if err != nil {
		fmt.Printf("%s: error %q\n", what, err)
		return
	}
	fmt.Printf("%s: %s\n", what, strings.TrimSpace(fmt.Sprintln(answer...)))
}

// first is the revision that a scene counts from.
func first(ctx context.Context, c *clientv3.Client) (int64, error) {
	got, err := c.Get(ctx, "nothing")
	if err != nil {
		return 0, err
	}
	return got.Header.Revision, nil
}

func is(err, wanted error) string {
	return fmt.Sprintf("%v is %v: %v", err, wanted, errors.Is(err, wanted))
}
