package appsandbookstest

import (
	"encoding/binary"
	"slices"
	"time"
)

// notificationElements is the largest number of elements in a notification.
const notificationElements = 100

// A taskSet collects the results of an event's tasks. Each task has one product
// (an asset or a subscription) and one target. Both are given by their
// positions in the request.
type taskSet struct {
	products  int
	completed int
	numbers   []int           // error numbers of the failed tasks, in the order of their first occurrence
	failed    map[int][][]int // targets of the failed tasks, by error number and product
	notify    bool            // whether succeeded is needed
	succeeded [][]int         // product -> targets
}

// newTaskSet returns an empty set for tasks with a number of products. If
// notify is true, the set records which tasks succeed. Otherwise it records
// only how many tasks succeed.
func newTaskSet(products int, notify bool) *taskSet {
	t := &taskSet{products: products, failed: make(map[int][][]int), notify: notify}
	if notify {
		t.succeeded = make([][]int, products)
	}
	return t
}

func (t *taskSet) success(product, target int) {
	t.completed++
	if t.notify {
		t.succeeded[product] = append(t.succeeded[product], target)
	}
}

func (t *taskSet) failure(number, product, target int) {
	if t.failed[number] == nil {
		t.numbers = append(t.numbers, number)
		t.failed[number] = make([][]int, t.products)
	}
	t.failed[number][product] = append(t.failed[number][product], target)
}

// failures returns the failures of a status answer. The pairs of the products
// and targets of each failure are exactly the tasks that failed, so several
// failures may have the same error number. If loose is true, each error number
// has one failure, whose pairs may include tasks that succeeded. If info is
// nil, failures have no errorInfo.
func (t *taskSet) failures(loose bool, info func(products, targets []int) *wireErrorInfo) []wireError {
	var out []wireError
	for _, number := range t.numbers {
		if info == nil {
			out = append(out, newWireError(number, nil))
			continue
		}
		for _, group := range failureGroups(t.failed[number], loose) {
			out = append(out, newWireError(number, info(group.products, group.targets)))
		}
	}
	return out
}

// A failureGroup is a set of products and a set of targets.
type failureGroup struct{ products, targets []int }

// failureGroups groups products that have the same targets. If merge is true,
// it returns one group with all products and targets.
func failureGroups(targets [][]int, merge bool) []failureGroup {
	var out []failureGroup
	place := make(map[string]int)
	for product, list := range targets {
		if len(list) == 0 {
			continue
		}
		var key []byte
		if !merge {
			for _, target := range list {
				key = binary.AppendUvarint(key, uint64(target))
			}
		}
		i, ok := place[string(key)]
		if !ok {
			i = len(out)
			place[string(key)] = i
			out = append(out, failureGroup{targets: slices.Clone(list)})
		} else if merge {
			out[i].targets = append(out[i].targets, list...)
		}
		out[i].products = append(out[i].products, product)
	}
	if merge {
		for i := range out {
			slices.Sort(out[i].targets)
			out[i].targets = slices.Compact(out[i].targets)
		}
	}
	return out
}

// notifyTasks calls send for each notification of an event. A notification has
// one product, either successes (number zero) or failures with one error
// number, and at most 100 elements.
func (t *taskSet) notifyTasks(send func(number, product int, targets []int)) {
	for product := range t.products {
		if t.notify {
			for part := range slices.Chunk(t.succeeded[product], notificationElements) {
				send(0, product, part)
			}
		}
		for _, number := range t.numbers {
			for part := range slices.Chunk(t.failed[number][product], notificationElements) {
				send(number, product, part)
			}
		}
	}
}

// finish finishes an event with the results of its tasks. The lock must be
// held.
func (u *Unit) finish(e *event, now time.Time, tasks *taskSet, info func(products, targets []int) *wireErrorInfo) {
	if u.srv.opts.noErrorInfo {
		info = nil
	}
	u.complete(e, now, tasks.completed, tasks.failures(u.srv.opts.looseErrorInfo, info))
}

// notifyTasks sends the notifications of an event that has ended. fill adds the
// elements to a payload. A payload without elements is not sent. The lock must
// be held.
func (u *Unit) notifyTasks(
	e *event, now time.Time, typ string, tasks *taskSet,
	info func(products, targets []int) *wireErrorInfo,
	fill func(m *wireManagement, product int, targets []int),
) {
	if !tasks.notify {
		return
	}
	tasks.notifyTasks(func(number, product int, targets []int) {
		m := wireManagement{EventID: e.ID, Result: "SUCCESS", Type: e.Type}
		if number != 0 {
			m.Result = "FAILURE"
			failure := newWireError(number, nil)
			if !u.srv.opts.noErrorInfo {
				failure.Info = info([]int{product}, targets)
			}
			m.Error = &failure
		}
		fill(&m, product, targets)
		if m.Assignments != nil || m.Users != nil {
			u.notify(typ, now, m)
		}
	})
}
