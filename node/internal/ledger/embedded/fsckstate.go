package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/iterator"
)

func blockNumber(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:]) }

// compareState walks over the state and its replay side by side.
func (c *checker) compareState() error {
	c.compared = true
	if c.state == nil {
		return nil
	}
	have, want := c.state.NewIterator(nil, nil), c.replay.state.NewIterator(nil, nil)
	defer have.Release()
	defer want.Release()
	moreHave, moreWant := have.Next(), want.Next()
	for moreHave || moreWant {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if !moreHave && have.Error() != nil {
			break
		}
		order := compareEntries(have, want, moreHave, moreWant)
		var err error
		switch {
		case order < 0:
			err = c.report.add(CodeExtra, describeKey(have.Key()), "the state holds it, but no block wrote it", "状态中存在，但没有区块写入")
		case order > 0:
			err = c.report.add(CodeMissing, describeKey(want.Key()), "the blocks wrote it, but the state does not hold it", "区块已写入，但状态中缺失")
		case !bytes.Equal(have.Value(), want.Value()):
			err = c.report.add(CodeDifferent, describeKey(have.Key()), "the state's entry differs from what the blocks wrote", "状态中的内容与区块写入的不一致")
		}
		if err != nil {
			return err
		}
		c.report.Entries++
		if order <= 0 {
			moreHave = have.Next()
		}
		if order >= 0 {
			moreWant = want.Next()
		}
	}
	if err := have.Error(); err != nil {
		return c.report.add(CodeOpen, "state", "the database cannot be read to its end: "+err.Error(), "数据库无法读完："+err.Error())
	}
	return want.Error()
}

func compareEntries(have, want iterator.Iterator, moreHave, moreWant bool) int {
	switch {
	case !moreHave:
		return 1
	case !moreWant:
		return -1
	}
	return bytes.Compare(have.Key(), want.Key())
}

// describeKey names an entry of the state database for people.
func describeKey(key []byte) string {
	fallback := fmt.Sprintf("state entry %x", key)
	if len(key) == 0 {
		return fallback
	}
	switch body := key[1:]; key[0] {
	case savepointKey[0]:
		return "state savepoint"
	case txPrefix:
		return fmt.Sprintf("index entry of transaction %x", body)
	case dataPrefix:
		if namespace, k, ok := bytes.Cut(body, []byte{0}); ok {
			return fmt.Sprintf("state key %q of %s", k, namespace)
		}
	case historyPrefix:
		namespace, rest, ok := bytes.Cut(body, []byte{0})
		n, size := binary.Uvarint(rest)
		if ok && size > 0 && uint64(len(rest)) == uint64(size)+n+12 {
			k, place := rest[size:size+int(n)], rest[size+int(n):]
			return fmt.Sprintf("history of key %q of %s in block %d tx %d", k, namespace,
				binary.BigEndian.Uint64(place), binary.BigEndian.Uint32(place[8:]))
		}
	}
	return fallback
}
