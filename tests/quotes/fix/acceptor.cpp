// Market data served by QuickFIX: a W for each symbol asked for, then an X a tenth of a second until it ends.
// usage: acceptor SETTINGS
#include <quickfix/Application.h>
#include <quickfix/FileStore.h>
#include <quickfix/Log.h>
#include <quickfix/Message.h>
#include <quickfix/Session.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketAcceptor.h>
#include <quickfix/Utility.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <string>
#include <vector>

struct Request {
  FIX::SessionID session;
  std::string id, symbol;
};

class MarketData : public FIX::Application {
 public:
  void onCreate(const FIX::SessionID&) {}
  void onLogon(const FIX::SessionID&) {}
  void onLogout(const FIX::SessionID&) {
    std::lock_guard<std::mutex> held(lock_);
    requests_.clear();
  }
  void toAdmin(FIX::Message&, const FIX::SessionID&) {}
  void toApp(FIX::Message&, const FIX::SessionID&) throw(FIX::DoNotSend) {}
  void fromAdmin(const FIX::Message& message, const FIX::SessionID&) throw(
      FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::RejectLogon) {
    if (message.getHeader().getField(35) == "A" && message.isSetField(554) && message.getField(554) != "hush")
      throw FIX::RejectLogon("wrong password");
  }
  void fromApp(const FIX::Message& message, const FIX::SessionID& session) throw(
      FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::UnsupportedMessageType) {
    if (message.getHeader().getField(35) != "V") throw FIX::UnsupportedMessageType();
    std::lock_guard<std::mutex> held(lock_);
    const std::string id = message.getField(262);
    if (message.getField(263) == "2") {
      requests_.erase(id);
      return;
    }
    for (int at = 1; at <= std::stoi(message.getField(146)); ++at) {
      FIX::Group related(146, 55);
      message.getGroup(at, related);
      const std::string symbol = related.getField(55);
      if (symbol == "NOSUCH") {
        FIX::Message refusal = made("Y");
        refusal.setField(262, id);
        refusal.setField(281, "0");
        refusal.setField(58, "no such symbol");
        FIX::Session::sendToTarget(refusal, session);
        continue;
      }
      requests_[id].push_back(Request{session, id, symbol});
      FIX::Message snapshot = made("W");
      snapshot.setField(262, id);
      snapshot.setField(55, symbol);
      entry(snapshot, false, "0", "1.10000", symbol);
      entry(snapshot, false, "1", "1.10002", symbol);
      FIX::Session::sendToTarget(snapshot, session);
    }
  }

  void change() {
    std::lock_guard<std::mutex> held(lock_);
    ++turn_;
    char bid[16], ask[16];
    std::snprintf(bid, sizeof bid, "1.1%04d", turn_ % 9000);
    std::snprintf(ask, sizeof ask, "1.1%04d", turn_ % 9000 + 2);
    for (const auto& each : requests_)
      for (const Request& request : each.second) {
        FIX::Message changes = made("X");
        changes.setField(262, request.id);
        entry(changes, true, "0", bid, request.symbol);
        entry(changes, true, "1", ask, request.symbol);
        FIX::Session::sendToTarget(changes, request.session);
      }
  }

 private:
  static FIX::Message made(const std::string& kind) {
    FIX::Message message;
    message.getHeader().setField(8, "FIX.4.4");
    message.getHeader().setField(35, kind);
    return message;
  }
  static void entry(FIX::Message& message, bool is_change, const std::string& side, const std::string& price,
                    const std::string& symbol) {
    const int changed[] = {279, 269, 278, 55, 270, 271, 0}, whole[] = {269, 278, 270, 271, 0};
    FIX::Group group(268, is_change ? 279 : 269, is_change ? changed : whole);
    if (is_change) {
      group.setField(279, "1");
      group.setField(55, symbol);
    }
    group.setField(269, side);
    group.setField(278, symbol + side);
    group.setField(270, price);
    group.setField(271, "1000000");
    message.addGroup(group);
  }

  std::mutex lock_;
  std::map<std::string, std::vector<Request>> requests_;
  int turn_ = 0;
};

int main(int, char** argv) {
  FIX::SessionSettings settings(argv[1]);
  MarketData application;
  FIX::FileStoreFactory store(settings);
  FIX::ScreenLogFactory log(settings);
  FIX::SocketAcceptor acceptor(application, store, settings, log);
  acceptor.start();
  for (;;) {
    FIX::process_sleep(0.1);
    application.change();
  }
}
