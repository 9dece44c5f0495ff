package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc/metadata"
)

const (
	end = "failover/end/go"
	// As long as a member may take to give up on a proposal.
	attemptTimeout = 8 * time.Second
	// Between two attempts.
	again = 20 * time.Millisecond
	// Between two writes, and while a mutex is held: traffic, not a flood.
	pace = 5 * time.Millisecond
	// Longer than any failover.
	ttlSeconds = 30
	// Each has a stream of its own, and the client spreads streams over the members.
	watchers = 3
)

// failover goes on with writes, watches, a mutex and an election while members die, until its standard input ends. The
// lines that it says are those that failover.rs of the program in Rust describes.
func failover(c *clientv3.Client) {
	ctx, stop := context.WithCancel(context.Background())
	var actors, watching sync.WaitGroup
	for n := range watchers {
		watching.Go(func() { watches(c, fmt.Sprintf("go-%d", n)) })
	}
	actors.Go(func() { puts(ctx, c) })
	for range 2 {
		actors.Go(func() { locks(ctx, c) })
		actors.Go(func() { campaigns(ctx, c) })
	}
	go observes(c)
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	actors.Wait()
	put(c, end, "")
	watching.Wait()
}

func now() int64 { return time.Now().UnixMicro() }

func wrong(what string, args ...any) { fmt.Printf("wrong "+what+"\n", args...) }

// insisted tries until it is done.
func insisted(attempt func(context.Context) error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
		err := attempt(ctx)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(again)
	}
}

func put(c *clientv3.Client, key, value string) (revision int64) {
	insisted(func(ctx context.Context) error {
		put, err := c.Put(ctx, key, value)
		if err == nil {
			revision = put.Header.Revision
		}
		return err
	})
	return revision
}

func puts(ctx context.Context, c *clientv3.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("failover/put/go/%d", n)
		revision := put(c, key, strconv.Itoa(n))
		fmt.Println("put", key, revision, now())
		time.Sleep(pace)
	}
}

// watches resumes only what the client gave up.
func watches(c *clientv3.Client, name string) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "watcher", name))
	defer cancel()
	for next := int64(1); ; {
		for answer := range c.Watch(ctx, "failover/", clientv3.WithPrefix(), clientv3.WithRev(next)) {
			for _, it := range answer.Events {
				fmt.Println("event", name, it.Type, string(it.Kv.Key), it.Kv.ModRevision)
				next = it.Kv.ModRevision + 1
				if string(it.Kv.Key) == end {
					return
				}
			}
		}
		time.Sleep(again)
	}
}

// session outlives every failover, or that is wrong.
func session(ctx context.Context, c *clientv3.Client) (session *concurrency.Session) {
	insisted(func(context.Context) (err error) {
		session, err = concurrency.NewSession(c, concurrency.WithTTL(ttlSeconds))
		return err
	})
	go func() {
		select {
		case <-session.Done():
			wrong("a session has ended")
		case <-ctx.Done():
		}
	}()
	return session
}

func locks(ctx context.Context, c *clientv3.Client) {
	mutex := concurrency.NewMutex(session(ctx, c), "failover/mutex")
	for ctx.Err() == nil {
		if err := mutex.Lock(context.Background()); err != nil {
			time.Sleep(again)
			continue
		}
		from := now()
		insisted(func(ctx context.Context) error {
			done, err := c.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("failover/fenced", "go")).Commit()
			if err == nil && !done.Succeeded {
				wrong("a mutex that is held has no key")
			}
			return err
		})
		time.Sleep(pace)
		fmt.Println("held mutex", from, now())
		insisted(mutex.Unlock)
	}
}

func campaigns(ctx context.Context, c *clientv3.Client) {
	election := concurrency.NewElection(session(ctx, c), "failover/election")
	for ctx.Err() == nil {
		if err := election.Campaign(context.Background(), "go"); err != nil {
			time.Sleep(again)
			continue
		}
		from := now()
		for n := range 3 {
			insisted(func(ctx context.Context) error {
				err := election.Proclaim(ctx, fmt.Sprintf("go-%d", n))
				if errors.Is(err, concurrency.ErrElectionNotLeader) {
					wrong("who has won does not lead")
					return nil
				}
				return err
			})
			time.Sleep(pace)
		}
		fmt.Println("held election", from, now())
		insisted(election.Resign)
	}
}

func observes(c *clientv3.Client) {
	var observer *concurrency.Session
	insisted(func(context.Context) (err error) {
		observer, err = concurrency.NewSession(c, concurrency.WithTTL(ttlSeconds))
		return err
	})
	for {
		for answer := range concurrency.NewElection(observer, "failover/election").Observe(context.Background()) {
			for _, it := range answer.Kvs {
				fmt.Println("led", string(it.Value), now())
			}
		}
		time.Sleep(again)
	}
}
