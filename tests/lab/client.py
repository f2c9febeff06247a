"""client.py NAME PATH CLIENTS PAUSE [TEXT]: clients that ask http://NAME/PATH of this host over keep-alive connections, until /root/stop is
there. Prints how many answers came, and how many requests got none, or one other than 200 or without TEXT. A client that nginx
closes the connection of, without an answer, before it has read a byte of the request, asks once more, as browsers do; `lost` counts those
that failed again, `again` the others.
"""
import http.client, os, sys, threading, time
name, path, clients, pause, text = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "".join(sys.argv[5:]).encode()
answers, lost, again, kinds = [0] * clients, [0] * clients, [0] * clients, set()
def ask(number):
    connection, tried = None, False
    while not os.path.exists("/root/stop"):
        fresh = connection is None
        try:
            if fresh:
                connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=20)
            connection.request("GET", path, headers={"Host": name})
            answer = connection.getresponse()
            if text in answer.read() and answer.status == 200:
                answers[number] += 1
            else:
                lost[number] += 1
                kinds.add(str(answer.status))
            if answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            if fresh:
                lost[number] += 1
                kinds.add(type(error).__name__)
            else:
                again[number] += 1
            connection = None
        time.sleep(pause)
threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("answers", sum(answers), "lost", sum(lost), "again", sum(again), *sorted(kinds))
