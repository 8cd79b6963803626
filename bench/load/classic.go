// The classic design in Go, as a peer: eight SO_REUSEPORT readers, each with recvmmsg and sendmmsg of 32 datagrams;
// the request is scanned for key and asset, both are looked up in a map, the answer is built anew. HTTP is net/http.
// usage: classic UDP_PORT HTTP_PORT
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	readers     = 8
	batch       = 32
	room        = 2048
	soReusePort = 15
	sysRecvmmsg = 299
	sysSendmmsg = 307
	waitForOne  = 0x10000
	answerText  = `{"asset":"%s","price":83421.57,"currency":"USD","exchange":"coinbase","source":"coinbase-ws",` +
		`"timestamp":"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"Classic"`
)

type mmsghdr struct {
	head syscall.Msghdr
	len  uint32
	_    [4]byte
}

var (
	prices  sync.Map // asset -> the answer up to its id
	served  atomic.Uint64
	unknown = []byte(`{"error":"unknown_asset"`)
)

func member(request []byte, name string) []byte {
	at := bytes.Index(request, []byte(name))
	if at < 0 {
		return nil
	}
	rest := request[at+len(name):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil
	}
	return rest[:end]
}

func priceOf(asset []byte) []byte {
	text, ok := prices.Load(string(asset))
	if !ok {
		text, _ = prices.LoadOrStore(string(asset), []byte(fmt.Sprintf(answerText, asset)))
	}
	return text.([]byte)
}

// The answer to one request, appended to out.
func answer(request, out []byte) []byte {
	if len(member(request, `"api_key":"`)) == 0 {
		return append(append(out, unknown...), '}')
	}
	out = append(out, priceOf(member(request, `"asset":"`))...)
	if at := bytes.Index(request, []byte(`,"id":`)); at >= 0 {
		out = append(out, request[at:len(request)-1]...)
	}
	served.Add(1)
	return append(out, '}')
}

func open(port int) int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	check(err)
	check(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1))
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 32<<20) != nil {
		check(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32<<20))
	}
	check(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	return fd
}

func read(fd int) {
	var in, out [batch]mmsghdr
	var inParts, outParts [batch]syscall.Iovec
	var peers [batch]syscall.RawSockaddrInet4
	var requests, answers [batch][room]byte
	for i := range in {
		inParts[i] = syscall.Iovec{Base: &requests[i][0], Len: room}
		in[i].head.Iov, in[i].head.Iovlen = &inParts[i], 1
		in[i].head.Name = (*byte)(unsafe.Pointer(&peers[i]))
		out[i].head.Iov, out[i].head.Iovlen = &outParts[i], 1
		out[i].head.Name = (*byte)(unsafe.Pointer(&peers[i]))
	}
	for {
		for i := range in {
			in[i].head.Namelen = uint32(unsafe.Sizeof(peers[i]))
		}
		n, _, _ := syscall.Syscall6(sysRecvmmsg, uintptr(fd), uintptr(unsafe.Pointer(&in[0])), batch, waitForOne, 0, 0)
		if int(n) <= 0 {
			continue
		}
		for i := 0; i < int(n); i++ {
			text := answer(requests[i][:in[i].len], answers[i][:0])
			outParts[i] = syscall.Iovec{Base: &text[0], Len: uint64(len(text))}
			out[i].head.Namelen = in[i].head.Namelen
		}
		for done := uintptr(0); done < n; {
			sent, _, _ := syscall.Syscall6(sysSendmmsg, uintptr(fd), uintptr(unsafe.Pointer(&out[done])), n-done, 0, 0, 0)
			if int(sent) <= 0 {
				sent = 1
			}
			done += sent
		}
	}
}

func price(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Api-Key") == "" {
		http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(append([]byte(nil), priceOf([]byte(r.URL.Query().Get("asset")))...), '}'))
	served.Add(1)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "classic:", err)
		os.Exit(1)
	}
}

func main() {
	port, err := strconv.Atoi(os.Args[1])
	check(err)
	for i := 0; i < readers; i++ {
		go read(open(port))
	}
	http.HandleFunc("/price", price)
	check(http.ListenAndServe("127.0.0.1:"+os.Args[2], nil))
}
